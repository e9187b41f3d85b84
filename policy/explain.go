package policy

import (
	"fmt"
	"strings"
)

// Explain tells in words what a policy does: a paragraph for its targets and for each tier, and for the tiers of a target's own.
func Explain(p *Policy) string {
	var targets []string
	own := ""
	for _, t := range p.Targets {
		name := t.Unit
		if t.Cgroup != "" {
			name = "cgroup " + t.Cgroup
		}
		if t.Disabled {
			name = "not " + name
		} else if t.own != nil {
			own += "\nFor " + name + " the tiers are others.\n" + explain(t.own.Tiers)
		}
		targets = append(targets, name)
	}
	return "Guards " + join(targets, " and ") + ".\n" + explain(p.Tiers) + own
}

func explain(tiers []Tier) string {
	var s strings.Builder
	for i, t := range tiers {
		fmt.Fprintf(&s, "\nTier %d, %s, is ", i+1, t.Name)
		if t.Enter.Op == Always {
			s.WriteString("always held.")
		} else {
			fmt.Fprintf(&s, "entered when %s and left when %s.", t.Enter.words(true), t.Leave.words(true))
		}
		for _, a := range t.Actions {
			s.WriteString(" It " + a.words() + ".")
		}
		if len(t.Actions) == 0 {
			s.WriteString(" It does nothing but tell.")
		} else if i+1 < len(tiers) {
			fmt.Fprintf(&s, " Harsher tiers wait for that, up to %s.", text(t.Settle))
		}
		if t.Urgent.Op != "" && i > 0 {
			fmt.Fprintf(&s, " It waits for nothing in milder tiers but purges while %s.", t.Urgent.words(false))
		}
		if len(t.Hook.Command) > 0 {
			fmt.Fprintf(&s, " Entering it and leaving it runs %s, for %s at most.", strings.Join(t.Hook.Command, " "), text(t.Hook.Timeout))
		}
		s.WriteString("\n")
	}
	return s.String()
}

func (c Condition) words(nested bool) string {
	var parts []string
	for _, part := range c.Of {
		parts = append(parts, part.words(true))
	}
	s := ""
	switch c.Op {
	case Always:
		return "at any time"
	case Compare:
		s = c.Test.String()
	case Not:
		s = "not " + parts[0]
	case Any:
		s = strings.Join(parts, " or ")
	case All:
		s = strings.Join(parts, " and ")
	}
	if len(parts) > 1 && (nested || c.For > 0) {
		s = "(" + s + ")"
	}
	if c.For > 0 {
		s += " for " + text(c.For)
	}
	return s
}

func (a Action) words() string {
	s := kinds[a.Kind].does + a.Only.words()
	switch h, t := a.HardStop, a.Terminate; a.Kind {
	case HardStopAfter:
		s += fmt.Sprintf(", over %s each, after %s of stopping", text(h.Spread), text(h.Limit))
		if h.HalveEvery > 0 {
			s += fmt.Sprintf(", halved every %s down to %s", text(h.HalveEvery), text(h.Floor))
		}
	case TerminateOldest:
		s += fmt.Sprintf(", by SIGKILL %s after SIGTERM, and the next %s later, down to the %d youngest", text(t.Grace), text(t.Settle), t.Keep)
	}
	if worth := max(a.HardStop.Worth, a.Terminate.Worth); worth > 0 {
		s += fmt.Sprintf(", if stopping workers together hold %s%% of the limit that is short, or anything of one that is the target's own", plain(worth))
	}
	return s
}

func (o Only) words() string {
	var parts []string
	if o.StoppingAbove > 0 {
		parts = append(parts, "have been stopping for more than "+text(o.StoppingAbove))
	}
	if o.CacheAbove > 0 {
		parts = append(parts, fmt.Sprintf("have more than %sMiB of TLS session cache", plain(float64(o.CacheAbove)/(1<<20))))
	}
	if o.OlderThan > 0 {
		parts = append(parts, fmt.Sprintf("have %d younger stopping generations", o.OlderThan))
	}
	if parts == nil {
		return "stopping workers"
	}
	return "the stopping workers that " + join(parts, " and ")
}
