package controller

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"time"

	"hapressure/policy"
	"hapressure/systemd"
)

// reporter says what happens: one journal entry for each event, with why in numbers. It counts, too.
type reporter struct {
	journal Journal
	tallies tallies
}

// Priorities as of syslog(3).
const (
	warning = 4
	notice  = 5
	info    = 6
)

func (r reporter) send(id string, priority int, message string, fields map[string]string) {
	maps.DeleteFunc(fields, func(_, value string) bool { return value == "" })
	// An entry that cannot be written must not stop us, and there is nobody else to tell.
	_ = r.journal.Send(systemd.Entry{MessageID: id, Message: message, Priority: priority, Fields: fields})
}

func (r reporter) targetFound(target, cgroup string) {
	r.send(systemd.TargetFound, info, fmt.Sprintf("Guarding %s (cgroup %s)", target, cgroup), map[string]string{
		"HAPRESSURE_TARGET": target, "HAPRESSURE_CGROUP": cgroup,
	})
}

func (r reporter) targetLost(target string, why error) {
	r.send(systemd.TargetLost, info, fmt.Sprintf("No longer guarding %s: %v", target, why), map[string]string{
		"HAPRESSURE_TARGET": target, "HAPRESSURE_REASON": fmt.Sprint(why),
	})
}

func (r reporter) sensorMissing(target, sensor string, err error) {
	of := sensor
	if target != "" {
		of += " of " + target
	}
	r.send(systemd.SensorMissing, warning, fmt.Sprintf("Cannot read %s, going on without it: %v", of, err), map[string]string{
		"HAPRESSURE_TARGET": target, "HAPRESSURE_SENSOR": sensor, "HAPRESSURE_REASON": err.Error(),
	})
}

func (r reporter) storageFailed(target, store, message string, err error) {
	r.send(systemd.StorageFailed, warning, message, map[string]string{
		"HAPRESSURE_TARGET": target, "HAPRESSURE_STORE": store, "HAPRESSURE_REASON": err.Error(),
	})
}

// linkChanged reports that units are found in another way than before.
func (r reporter) linkChanged(before string, l *Link) {
	message, priority := fmt.Sprintf("Finding units by %s instead of %s", l.Name, before), notice
	s := l.status()
	if s.Why != "" {
		message += fmt.Sprintf(": %s; %s; trying again every %.0f s", s.Why, s.Lacks, lookEvery.Seconds())
		priority = warning
	}
	r.send(systemd.ConnectionChanged, priority, message, map[string]string{
		"HAPRESSURE_CONNECTION": s.By, "HAPRESSURE_CONNECTION_FROM": before, "HAPRESSURE_LACKS": s.Lacks, "HAPRESSURE_REASON": s.Why,
	})
}

func (r reporter) tierChanged(target string, ch policy.Change, v view) {
	r.tallies.tierChanged(target, ch)
	to := cmp.Or(ch.ToName, none)
	how := "Entering tier"
	if ch.To < ch.From {
		how = "Back to tier"
	}
	r.send(systemd.TierChanged, notice, fmt.Sprintf("%s %s of %s: %s", how, to, target, ch.Why), map[string]string{
		"HAPRESSURE_TARGET": target, "HAPRESSURE_TIER": to, "HAPRESSURE_TIER_FROM": cmp.Or(ch.FromName, none),
		"HAPRESSURE_REASON":                 ch.Why,
		"HAPRESSURE_USAGE_BYTES":            strconv.FormatUint(v.nearest.Usage, 10),
		"HAPRESSURE_LIMIT_BYTES":            strconv.FormatUint(v.nearest.Bytes, 10),
		"HAPRESSURE_LIMIT":                  v.nearest.String(),
		"HAPRESSURE_USAGE_LIMIT":            v.most.String(),
		"HAPRESSURE_USAGE_LIMIT_BYTES":      strconv.FormatUint(v.most.Bytes, 10),
		"HAPRESSURE_USAGE_LIMIT_USED_BYTES": strconv.FormatUint(v.most.Usage, 10),
	})
}

func (r reporter) withheld(target string, w policy.Withheld, v view) {
	of := v.nearest
	if w.Of == v.UsageOf {
		of = v.most
	}
	r.send(systemd.Withheld, notice, fmt.Sprintf("No connection of %s is cut: %s", target, w), map[string]string{
		"HAPRESSURE_TARGET": target, "HAPRESSURE_TIER": w.Tier, "HAPRESSURE_ACTION": w.Kind, "HAPRESSURE_REASON": w.String(),
		"HAPRESSURE_HELD_BYTES":  strconv.FormatUint(w.Gain, 10),
		"HAPRESSURE_USAGE_BYTES": strconv.FormatUint(of.Usage, 10),
		"HAPRESSURE_LIMIT_BYTES": strconv.FormatUint(of.Bytes, 10),
		"HAPRESSURE_LIMIT":       of.String(),
	})
}

func (r reporter) hookFailed(h systemd.Hook, err error) {
	r.send(systemd.HookFailed, warning, fmt.Sprintf("%s: %s: %v", h.Description, h.Command[0], err), map[string]string{
		"HAPRESSURE_TARGET":    h.Environment["HAPRESSURE_TARGET"],
		"HAPRESSURE_TIER":      h.Environment["HAPRESSURE_TIER"],
		"HAPRESSURE_TIER_FROM": h.Environment["HAPRESSURE_TIER_FROM"],
		"HAPRESSURE_CHANGE":    h.Environment["HAPRESSURE_CHANGE"],
		"HAPRESSURE_HOOK":      h.Command[0],
		"HAPRESSURE_ERROR":     err.Error(),
	})
}

func (r reporter) outcome(target string, due policy.Due, res result) {
	r.tallies.outcome(target, due, res)
	id, priority := systemd.Action, notice
	switch res.Result {
	case policy.Refused:
		id, priority = systemd.Refused, warning
	case policy.Failed:
		id, priority = systemd.Failed, warning
	}
	message := fmt.Sprintf("%s on worker %d (generation %d) of %s: %s", due.Kind, due.Worker.PID, due.Generation, target, res.what)
	if res.why != "" {
		message += ": " + res.why
	}
	r.send(id, priority, message+" ("+due.Why+")", map[string]string{
		"HAPRESSURE_TARGET":        target,
		"HAPRESSURE_TIER":          due.Tier,
		"HAPRESSURE_ACTION":        due.Kind,
		"HAPRESSURE_RESULT":        string(res.Result),
		"HAPRESSURE_WORKER_PID":    strconv.Itoa(due.Worker.PID),
		"HAPRESSURE_GENERATION":    strconv.Itoa(due.Generation),
		"HAPRESSURE_FREED_BYTES":   strconv.FormatUint(res.freed, 10),
		"HAPRESSURE_DURATION_USEC": usec(res.took),
		"HAPRESSURE_HELD_USEC":     usec(res.held),
		"HAPRESSURE_STALL_USEC":    usec(res.stall),
		"HAPRESSURE_SESSIONS":      strconv.Itoa(res.sessions),
		"HAPRESSURE_REASON":        due.Why,
		"HAPRESSURE_ERROR":         res.why,
	})
}

func usec(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
