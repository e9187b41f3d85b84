package policy

import (
	"fmt"
	"strings"
)

// Explain tells in words what a policy does: a paragraph for its targets, one for each tier, and again for each target that changes them.
func Explain(p *Policy) string {
	var all []string
	for _, t := range p.Targets {
		all = append(all, t.String())
	}
	text := "Guards " + join(all, " and ") + ".\n\n" + inWords(p.Tiers)
	for _, t := range p.Targets {
		if t.own != nil && !t.Disabled {
			text += fmt.Sprintf("%s has tiers of its own.\n\n%s", t, inWords(t.own.Tiers))
		}
	}
	return text
}

func (t Target) String() string {
	name := t.Unit
	if t.Cgroup != "" {
		name = "cgroup " + t.Cgroup
	}
	if t.Disabled {
		return "not " + name
	}
	return name
}

func inWords(tiers []Tier) string {
	below := "nothing more is done"
	var s strings.Builder
	for i := range tiers {
		t := &tiers[i]
		fmt.Fprintf(&s, "Tier %d, %s. ", i+1, t.Name)
		if t.Enter.Op == Always {
			s.WriteString("It is always held. ")
		} else {
			fmt.Fprintf(&s, "It is entered %s. It is left, so that %s, %s. ", t.Enter.when(), below, t.Leave.when())
		}
		for j := range t.Actions {
			s.WriteString(t.Actions[j].words())
		}
		switch {
		case len(t.Actions) == 0:
			s.WriteString("Its changes are told, and nothing is done. ")
		case i+1 < len(tiers):
			fmt.Fprintf(&s, "Harsher tiers wait up to %s for that. ", text(t.Settle))
		}
		if t.Urgent.Op != "" && i > 0 {
			fmt.Fprintf(&s, "It does not wait for milder tiers, but for their purges, %s. ", t.Urgent.when())
		}
		below = "only tier " + t.Name + " is held"
		if i > 0 {
			below = "tier " + t.Name + " and all milder ones are held"
		}
		s.WriteString("\n\n")
	}
	return strings.ReplaceAll(s.String(), " \n", "\n")
}

// when is a whole condition in words.
func (c Condition) when() string {
	held := "are"
	if c.For > 0 {
		held = "have been for " + text(c.For)
	}
	if (c.Op != Any && c.Op != All) || len(c.Of) == 1 {
		if c.Op == Always {
			return "at any time"
		}
		return "on " + c.words()
	}
	var parts []string
	for _, part := range c.Of {
		parts = append(parts, part.words())
	}
	if c.Op == Any {
		held = strings.NewReplacer("are", "is", "have", "has").Replace(held)
	}
	return fmt.Sprintf("when %s of these %s true: %s", c.Op, held, strings.Join(parts, "; "))
}

// words is a condition within another in words.
func (c Condition) words() string {
	var parts []string
	for _, part := range c.Of {
		parts = append(parts, part.words())
	}
	s := ""
	switch c.Op {
	case Compare:
		s = c.Test.String()
		if c.Test.Signal == Pressure || c.Test.Signal == Events {
			s = fmt.Sprintf("%s of at least %s%s", c.Test.name(), c.Test.format(c.Test.Limit), c.Test.span())
		}
	case Any:
		s = "(" + strings.Join(parts, " or ") + ")"
	case All:
		s = "(" + strings.Join(parts, " and ") + ")"
	case Not:
		s = "not " + parts[0]
	}
	if c.For > 0 {
		s += " for " + text(c.For)
	}
	return s
}

// words is an action in a sentence of its own.
func (a *Action) words() string {
	s, whom := "", "stopping workers"+a.Only.words()
	switch a.Kind {
	case PurgeSSLCache:
		s = "The TLS session caches of " + whom + " are emptied"
	case HardStopAfter:
		h := a.HardStop
		s = fmt.Sprintf("The connections of %s are drained, over %s, where they have been stopping for %s", whom, text(h.Spread), text(h.Limit))
		if h.HalveEvery > 0 {
			s += fmt.Sprintf(", which is halved every %s down to %s", text(h.HalveEvery), text(h.Floor))
		}
	case TerminateOldest:
		t := a.Terminate
		s = fmt.Sprintf("The oldest generation of %s is terminated, with SIGKILL %s after SIGTERM, and %s after its end the next", whom, text(t.Grace), text(t.Settle))
		if t.Keep > 0 {
			s += fmt.Sprintf("; the %d youngest are spared", t.Keep)
		}
	}
	return s + ". "
}

func (o Only) words() string {
	var parts []string
	if o.StoppingAbove > 0 {
		parts = append(parts, "have been stopping for more than "+text(o.StoppingAbove))
	}
	if o.CacheAbove > 0 {
		parts = append(parts, fmt.Sprintf("have a TLS session cache of more than %sMiB", plain(float64(o.CacheAbove)/(1<<20))))
	}
	if o.OlderThan > 0 {
		parts = append(parts, fmt.Sprintf("are older than the %d youngest stopping generations", o.OlderThan))
	}
	if parts == nil {
		return ""
	}
	return " that " + join(parts, " and ")
}
