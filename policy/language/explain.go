package language

import (
	"fmt"
	"slices"
	"strings"

	"hapressure/policy"
	"hapressure/policy/schema"
)

// Explain returns in words what a policy does: a paragraph for its targets and one for
// each tier, followed by the tiers of targets with overrides.
func Explain(p *policy.Policy) string {
	var targets []string
	overridden := ""
	for _, t := range p.Targets {
		name := t.Unit
		if t.Cgroup != "" {
			name = "cgroup " + t.Cgroup
		}
		if t.Disabled {
			name = "not " + name
		} else if t.Own != nil {
			overridden += "\n" + name + " has overrides. Its tiers are:\n" + explain(t.Own)
		}
		targets = append(targets, name)
	}
	return "Guards " + schema.Join(targets, " and ") + ".\n" + explain(p) + overridden
}

func explain(p *policy.Policy) string {
	var s strings.Builder
	tiers := p.Tiers
	for i, t := range tiers {
		fmt.Fprintf(&s, "\nTier %d, %s, is ", i+1, t.Name)
		if t.Enter.Op == policy.Always {
			s.WriteString("always entered and never left.")
		} else {
			fmt.Fprintf(&s, "entered when %s and left when %s.", t.Enter, t.Leave)
		}
		for _, a := range t.Actions {
			s.WriteString(" It " + action(a) + ".")
		}
		if len(t.Actions) == 0 {
			s.WriteString(" It only reports.")
		} else if i+1 < len(tiers) && slices.ContainsFunc(t.Actions, frees) {
			fmt.Fprintf(&s, " Harsher tiers wait for that for at most %s.",
				policy.FormatDuration(t.Settle))
		}
		if t.Urgent.Op != "" && i > 0 {
			fmt.Fprintf(&s, " Of milder tiers it waits only for purges while %s.", t.Urgent)
		}
		if len(t.Hook.Command) > 0 {
			fmt.Fprintf(&s, " When it is entered and when it is left, it runs %s, for at most %s.",
				strings.Join(t.Hook.Command, " "), policy.FormatDuration(t.Hook.Timeout))
		}
		s.WriteString("\n")
	}
	if p.MakeRoom.Drain {
		s.WriteString("\nWhile make-room waits for room, and what cuts no connection is not " +
			"enough, stopping workers are drained one after another, however " +
			"long they have been stopping.\n")
	}
	return s.String()
}

// does is what each kind of action does to stopping workers.
var does = map[string]string{
	policy.Protect:        "has the kernel, if it must kill a process, begin with ",
	policy.PurgeSSLCache:  "empties the TLS session caches of ",
	policy.PurgeHTTPCache: "empties the HTTP caches of ",
	policy.TrimPools:      "trims the memory pools of ",
	policy.Cold: "has the kernel, if there is swap and memory is short, " +
		"begin to reclaim with the memory of ",
	policy.PageOut:         "moves to swap the memory of ",
	policy.HardStopAfter:   "drains ",
	policy.TerminateOldest: "terminates the oldest generation of ",
}

// frees reports whether an action frees memory, so that harsher tiers wait for it.
func frees(a policy.Action) bool { return a.Kind != policy.Protect && a.Kind != policy.Cold }

func action(a policy.Action) string {
	s := does[a.Kind] + only(a.Only)
	duration := policy.FormatDuration
	switch h, t := a.HardStop, a.Terminate; a.Kind {
	case policy.Protect:
		s += ", the oldest generation first"
	case policy.PageOut:
		s += fmt.Sprintf(", the oldest first, %sMiB a second at most, unless a worker uses more "+
			"than %s%% of a CPU, and until tasks wait for memory for %s%% of a second more than "+
			"before",
			policy.FormatNumber(float64(a.Paging.PerSecond)/(1<<20)),
			policy.FormatNumber(a.Paging.Busy), policy.FormatNumber(a.Paging.Stall))
	case policy.HardStopAfter:
		if h.ByCost {
			s += ", those with the most bytes a connection first"
		}
		s += fmt.Sprintf(", over %s each, once they have been stopping for %s",
			duration(h.Spread), duration(h.Limit))
		if h.HalveEvery > 0 {
			s += fmt.Sprintf(" (halved every %s, down to %s)",
				duration(h.HalveEvery), duration(h.Floor))
		}
	case policy.TerminateOldest:
		s += fmt.Sprintf(", with SIGTERM and, %s later, SIGKILL, and the next one %s after its end",
			duration(t.Grace), duration(t.Settle))
		if t.Keep > 0 {
			s += fmt.Sprintf(", except for the %d youngest", t.Keep)
		}
	}
	if worth := max(a.HardStop.Worth, a.Terminate.Worth); worth > 0 {
		s += fmt.Sprintf(", if stopping workers together hold at least %s%% of the limit that is "+
			"short, or any part of a limit that the target itself uses up",
			policy.FormatNumber(worth))
	}
	return s
}

func only(o policy.Only) string {
	var parts []string
	if o.StoppingAbove > 0 {
		above := policy.FormatDuration(o.StoppingAbove)
		parts = append(parts, "have been stopping for more than "+above)
	}
	if o.CacheAbove > 0 {
		size := policy.FormatNumber(float64(o.CacheAbove) / (1 << 20))
		parts = append(parts, "hold more than "+size+"MiB in their TLS session caches")
	}
	if o.OlderThan > 0 {
		parts = append(parts, "have "+policy.Count(o.OlderThan, "younger stopping generation"))
	}
	if parts == nil {
		return "stopping workers"
	}
	return "the stopping workers that " + schema.Join(parts, " and ")
}
