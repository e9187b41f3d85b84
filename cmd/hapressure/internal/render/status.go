package render

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hapressure/controller/status"
	"hapressure/policy"
)

// Status returns a status for a screen: a summary, what is wrong with the daemon, and the
// targets.
func Status(s status.Status, on Screen) string {
	var b strings.Builder
	note := func(l Level, text string) {
		fmt.Fprintln(&b, on.Paint(l, Wrap(text, on.Width, 2)))
	}
	note(summary(s))
	d := s.Daemon
	if d == nil {
		note(Warning, "The daemon is not running; status has inspected the host. Start it: "+
			"systemctl start hapressure")
	} else if d.DryRun {
		note(Warning, "Dry run: the daemon decides and reports, but changes no worker.")
	}
	if d != nil {
		for _, r := range d.MissingRights {
			note(Warning, "Missing: "+r.String())
		}
	}
	if s.Policy.Rejected != "" {
		note(Problem, "An older policy is in force, because the files have mistakes: "+
			s.Policy.Rejected)
	}
	b.WriteByte('\n')
	var cut []string
	for _, t := range s.Targets {
		cut = append(cut, targetText(&b, t, s, on)...)
		b.WriteByte('\n')
	}
	text := fmt.Sprintf("%s, in force for %s", s.Policy.Origin, Since(s.At, s.Policy.Since))
	if d != nil {
		text += fmt.Sprintf("; hapressure %s, pid %d, up %s", d.Version, d.PID,
			Since(s.At, d.Started))
	}
	note(Plain, strings.ToUpper(text[:1])+text[1:])
	cutNote(&b, on, cut)
	return b.String()
}

// summary returns the worst of all targets, and what all stopping workers hold.
func summary(s status.Status) (Level, string) {
	if len(s.Targets) == 0 {
		return Warning, "No target of the policy is running."
	}
	worst := slices.MaxFunc(s.Targets, func(a, b status.Target) int {
		return cmp.Or(cmp.Compare(severity(a), severity(b)), cmp.Compare(a.Tier, b.Tier),
			cmp.Compare(a.Usage.Value, b.Usage.Value))
	})
	text := policy.Count(len(s.Targets), "target")
	if len(s.Targets) > 1 {
		text += ", the worst is " + worst.Name
	}
	text += ": " + Tier(worst, s)
	if worst.Limit.Bytes > 0 {
		text += fmt.Sprintf("; %.0f%% of its memory used",
			100*float64(worst.Limit.Used)/float64(worst.Limit.Bytes))
	}
	var held, stopping uint64
	for _, t := range s.Targets {
		stopping += uint64(t.Stopping.Workers)
		held += t.Stopping.Cache + t.Stopping.OtherShared + t.Stopping.Private + t.Stopping.Kernel
	}
	switch stopping {
	case 0:
		text += "; no stopping worker"
	case 1:
		text += "; a stopping worker holds " + Size(held)
	default:
		text += fmt.Sprintf("; %d stopping workers hold %s", stopping, Size(held))
	}
	return severity(worst), text + "."
}

// severity is the level of a target's tier. A tier without a threshold is always entered.
func severity(t status.Target) Level {
	entered := func(th status.Threshold) bool { return th.Tier <= t.Tier }
	switch {
	case t.Tier > 0 && t.Tier == len(t.Tiers):
		return Problem
	case slices.ContainsFunc(t.Thresholds, entered):
		return Warning
	}
	return Good
}

// shownActions is how many of the last actions are shown.
const shownActions = 5

// targetText writes a target. It returns the columns that gave way.
func targetText(b *strings.Builder, t status.Target, s status.Status, on Screen) (cut []string) {
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(b, "  %s%s\n", on.Paint(Minor, fmt.Sprintf("%-10s", label)),
				Wrap(text, on.Width, 12))
		}
	}
	fmt.Fprintf(b, "%s  %s\n", Printable(t.Name), on.Paint(severity(t), Printable(Tier(t, s))))
	if !t.Mode.Acts() && s.Daemon != nil && !s.Daemon.DryRun {
		line("mode", ModeText(t.Mode))
	}
	line("because", t.TierWhy)
	line("left when", t.TierLeave)
	for _, w := range t.Withheld {
		line("withheld", fmt.Sprintf("for %s: %s", Since(s.At, w.Since), w.Why))
	}
	for _, r := range t.RoomRequests {
		line("make-room", fmt.Sprintf("a client waits for room for %s, for %s, at most %s "+
			"more; %s", policy.Count(r.Reloads, "reload"), Since(s.At, r.Since),
			Since(r.Until, s.At), r.By))
	}
	line("memory", Memory(t))
	line("limit", t.Limit.Name)
	if l := t.UsageLimit; l.Name != t.Limit.Name && l.Bytes > 0 {
		line("usage", fmt.Sprintf("%.0f%% of %s, the limit that is used most: %s of %s",
			t.Usage.Value, l.Name, Size(l.Used), Size(l.Bytes)))
	}
	line("pressure", fmt.Sprintf("some %s, full %s over 10 s; some %s, full %s over 60 s",
		Percent(t.Some10), Percent(t.Full10), Percent(t.Some60), Percent(t.Full60)))
	line("events", eventsText(t.Events))
	if t.Swap.Value > 0 {
		line("swap", Size(uint64(t.Swap.Value)))
	}
	if t.Sock.Value >= 1<<20 {
		line("sockets", "buffers of "+Size(uint64(t.Sock.Value)))
	}
	line("workers", WorkersSummary(t.Masters, t.Stopping))
	line("hard stop", hardStopText(t))
	for _, why := range Unknown(t) {
		line("unknown", why)
	}
	for _, m := range t.Masters {
		b.WriteByte('\n')
		table := workerTable(m.Workers).without("SHARED", "PROOF")
		table.Indent = "  "
		yielded, _ := table.Print(b, on)
		cut = append(cut, yielded...)
	}
	if len(t.Actions) > 0 {
		b.WriteByte('\n')
	}
	for _, a := range slices.Backward(t.Actions[max(0, len(t.Actions)-shownActions):]) {
		fmt.Fprintf(b, "  %-11s %s\n", Since(s.At, a.At)+" ago",
			on.Paint(outcomes[a.Result], Wrap(Action(a), on.Width, 14)))
	}
	return cut
}

// outcomes are the levels of the results of actions.
var outcomes = map[policy.Result]Level{policy.Refused: Warning, policy.Failed: Problem}

// Tier returns the tier of a target, and since when it is in it.
func Tier(t status.Target, s status.Status) string {
	text := "no tier"
	switch {
	case s.Daemon == nil:
		return "tier unknown without the daemon"
	case t.Tier > 0 && t.Tier <= len(t.Tiers):
		text = fmt.Sprintf("tier %d of %d, %s", t.Tier, len(t.Tiers), t.Tiers[t.Tier-1])
	}
	if t.TierSince != nil {
		text += ", for " + Since(s.At, *t.TierSince)
	}
	return text
}

// Memory returns what is used of the nearest limit, and how long that lasts.
func Memory(t status.Target) string {
	if t.Limit.Bytes == 0 {
		return "unknown: " + t.Usage.Absent
	}
	text := fmt.Sprintf("%s of %s (%.0f%%)", Size(t.Limit.Used), Size(t.Limit.Bytes),
		100*float64(t.Limit.Used)/float64(t.Limit.Bytes))
	if t.ReloadRoom.Absent == "" {
		text += fmt.Sprintf(", room for %.*f reloads", max(0, 1-int(t.ReloadRoom.Value/10)),
			t.ReloadRoom.Value)
	}
	if t.LimitIn.Absent == "" {
		text += fmt.Sprintf(", at the limit in %s", Span(t.LimitIn.Value))
	}
	return text
}

// eventsText returns the counts of memory.events, the worst first.
func eventsText(events map[string]policy.Reading) string {
	var parts []string
	for _, kind := range []string{"oom_kill", "oom", "max", "high"} {
		if n := events[kind].Value; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f", kind, n))
		}
	}
	return strings.Join(parts, ", ")
}

func hardStopText(t status.Target) string {
	var parts []string
	if t.HardStopAfter != nil {
		parts = append(parts, Span(*t.HardStopAfter)+" by the policy")
	}
	for _, m := range t.Masters {
		if m.HardStopAfter != nil {
			parts = append(parts, Span(*m.HardStopAfter)+" by HAProxy's hard-stop-after")
		}
	}
	return strings.Join(slices.Compact(parts), "; ")
}

// Unknown returns what is unknown and why, each reason once.
func Unknown(t status.Target) []string {
	of := map[string][]string{} // by the reason
	add := func(what, why string) {
		if why != "" && !slices.Contains(of[why], what) {
			of[why] = append(of[why], what)
		}
	}
	for _, sensor := range slices.Sorted(maps.Keys(t.Missing)) {
		add(sensor, t.Missing[sensor])
	}
	if t.WorkersAbsent != "" {
		add("workers (shown as of an earlier tick)", t.WorkersAbsent)
	}
	add("room for reloads", t.ReloadRoom.Absent)
	for _, m := range t.Masters {
		add("worker CLI", m.CLIError)
		add("hard-stop-after", m.HardStopError)
		for _, w := range m.Workers {
			if w.State != Current { // which is not asked
				add(fmt.Sprintf("connections of %d", w.PID), w.ConnError)
			}
			add(fmt.Sprintf("cache of %d", w.PID), w.CacheError)
			add(fmt.Sprintf("memory of %d", w.PID), w.SizeError)
		}
	}
	var lines []string
	for why, what := range of {
		lines = append(lines, strings.Join(what, ", ")+": "+why)
	}
	slices.Sort(lines)
	return lines
}

// Action returns an action and its outcome.
func Action(a status.Action) string {
	what := cmp.Or(a.What, string(a.Result))
	if a.Error != "" {
		what += ": " + a.Error
	}
	return fmt.Sprintf("%s of %d: %s", a.Action, a.PID, what)
}
