package language

import (
	"fmt"
	"strings"

	"hapressure/policy"
)

// Explain tells in words what a policy does: a paragraph for its targets and for each tier, and for the tiers of a target's own.
func Explain(p *policy.Policy) string {
	var targets []string
	own := ""
	for _, t := range p.Targets {
		name := t.Unit
		if t.Cgroup != "" {
			name = "cgroup " + t.Cgroup
		}
		if t.Disabled {
			name = "not " + name
		} else if t.Own != nil {
			own += "\nFor " + name + " the tiers are others.\n" + explain(t.Own.Tiers)
		}
		targets = append(targets, name)
	}
	return "Guards " + join(targets, " and ") + ".\n" + explain(p.Tiers) + own
}

func explain(tiers []policy.Tier) string {
	var s strings.Builder
	for i, t := range tiers {
		fmt.Fprintf(&s, "\nTier %d, %s, is ", i+1, t.Name)
		if t.Enter.Op == policy.Always {
			s.WriteString("always held.")
		} else {
			fmt.Fprintf(&s, "entered when %s and left when %s.", t.Enter, t.Leave)
		}
		for _, a := range t.Actions {
			s.WriteString(" It " + action(a) + ".")
		}
		if len(t.Actions) == 0 {
			s.WriteString(" It does nothing but tell.")
		} else if i+1 < len(tiers) {
			fmt.Fprintf(&s, " Harsher tiers wait for that, up to %s.", policy.FormatDuration(t.Settle))
		}
		if t.Urgent.Op != "" && i > 0 {
			fmt.Fprintf(&s, " It waits for nothing in milder tiers but purges while %s.", t.Urgent)
		}
		if len(t.Hook.Command) > 0 {
			fmt.Fprintf(&s, " Entering it and leaving it runs %s, for %s at most.", strings.Join(t.Hook.Command, " "), policy.FormatDuration(t.Hook.Timeout))
		}
		s.WriteString("\n")
	}
	return s.String()
}

// does is what each kind of action does to stopping workers.
var does = map[string]string{
	policy.PurgeSSLCache:   "empties the TLS session caches of ",
	policy.PurgeHTTPCache:  "empties the HTTP caches of ",
	policy.TrimPools:       "trims the memory pools of ",
	policy.PageOut:         "moves to swap the memory of ",
	policy.HardStopAfter:   "drains ",
	policy.TerminateOldest: "terminates the oldest generation of ",
}

func action(a policy.Action) string {
	s := does[a.Kind] + only(a.Only)
	switch h, t := a.HardStop, a.Terminate; a.Kind {
	case policy.HardStopAfter:
		s += fmt.Sprintf(", over %s each, after %s of stopping", policy.FormatDuration(h.Spread), policy.FormatDuration(h.Limit))
		if h.HalveEvery > 0 {
			s += fmt.Sprintf(", halved every %s down to %s", policy.FormatDuration(h.HalveEvery), policy.FormatDuration(h.Floor))
		}
	case policy.TerminateOldest:
		s += fmt.Sprintf(", by SIGKILL %s after SIGTERM, and the next %s later, down to the %d youngest", policy.FormatDuration(t.Grace), policy.FormatDuration(t.Settle), t.Keep)
	}
	if worth := max(a.HardStop.Worth, a.Terminate.Worth); worth > 0 {
		s += fmt.Sprintf(", if stopping workers together hold %s%% of the limit that is short, or anything of one that is the target's own", policy.FormatNumber(worth))
	}
	return s
}

func only(o policy.Only) string {
	var parts []string
	if o.StoppingAbove > 0 {
		parts = append(parts, "have been stopping for more than "+policy.FormatDuration(o.StoppingAbove))
	}
	if o.CacheAbove > 0 {
		parts = append(parts, fmt.Sprintf("have more than %sMiB of TLS session cache", policy.FormatNumber(float64(o.CacheAbove)/(1<<20))))
	}
	if o.OlderThan > 0 {
		parts = append(parts, fmt.Sprintf("have %d younger stopping generations", o.OlderThan))
	}
	if parts == nil {
		return "stopping workers"
	}
	return "the stopping workers that " + join(parts, " and ")
}
