package controller

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"hapressure/policy"
)

// linkChanged logs that units are found in another way than before. It is a warning
// unless that is the first way.
func (e Events) linkChanged(before string, l *Link, retry time.Duration) {
	message, priority := fmt.Sprintf("Finding units by %s instead of %s", l.Name, before), logNotice
	s := l.status()
	if s.Why != "" {
		message += fmt.Sprintf(": %s; %s; retrying every %.0f s", s.Why, s.Lacks, retry.Seconds())
		priority = logWarning
	}
	e.sendAt(priority, ConnectionChanged, message, fields{
		"CONNECTION": s.By, "CONNECTION_FROM": before, "LACKS": s.Lacks, "REASON": s.Why,
	})
}

func (e Events) tierChanged(target string, ch policy.Change, v view) {
	to := cmp.Or(ch.ToName, none)
	how := "Entering tier"
	if ch.To < ch.From {
		how = "Back to tier"
	}
	e.send(TierChanged, fmt.Sprintf("%s %s of %s: %s", how, to, target, ch.Why), fields{
		"TARGET": target, "TIER": to, "TIER_FROM": cmp.Or(ch.FromName, none), "REASON": ch.Why,
		"LIMIT": v.nearest.String(), "LIMIT_BYTES": number(v.nearest.Bytes),
		"USAGE_BYTES": number(v.nearest.Usage),
		"USAGE_LIMIT": v.most.String(), "USAGE_LIMIT_BYTES": number(v.most.Bytes),
		"USAGE_LIMIT_USED_BYTES": number(v.most.Usage),
	})
}

func (e Events) withheld(target string, w policy.Withheld, v view) {
	of := v.nearest
	if w.Of == v.UsageOf {
		of = v.most
	}
	e.send(Withheld, fmt.Sprintf("No connection of %s is cut: %s", target, w), fields{
		"TARGET": target, "TIER": w.Tier, "ACTION": w.Kind, "REASON": w.String(),
		"HELD_BYTES": number(w.Gain),
		"LIMIT":      of.String(), "LIMIT_BYTES": number(of.Bytes), "USAGE_BYTES": number(of.Usage),
	})
}

func (e Events) outcome(target string, due policy.Due, res result) {
	k := Action
	switch res.Result {
	case policy.Refused:
		k = Refused
	case policy.Failed:
		k = Failed
	}
	message := fmt.Sprintf("%s on worker %d (generation %d) of %s: %s",
		due.Kind, due.Worker.PID, due.Generation, target, res.what)
	if res.why != "" {
		message += ": " + res.why
	}
	e.send(k, message+" ("+due.Why+")", fields{
		"TARGET": target, "TIER": due.Tier, "ACTION": due.Kind, "RESULT": string(res.Result),
		"WORKER_PID": strconv.Itoa(due.Worker.PID), "GENERATION": strconv.Itoa(due.Generation),
		"FREED_BYTES": number(res.freed), "DURATION_USEC": usec(res.took),
		"HELD_USEC": usec(res.held), "STALL_USEC": usec(res.stall),
		"SESSIONS": strconv.Itoa(res.sessions),
		"REASON":   due.Why, "ERROR": res.why,
	})
}
