package language

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hapressure/policy"
	"hapressure/policy/schema"
)

// placed is one comparison with its place in a condition.
type placed struct {
	policy.Comparison
	written  string // the threshold, as written
	at       schema.Place
	positive bool          // not under a not
	alone    bool          // it alone makes the whole condition true
	joined   *schema.Value // the all that it is a direct part of
	wait     time.Duration // the sum of its for and those around it
}

// comparisons returns all comparisons without mistakes in a condition. outer describes
// what is around the condition.
func comparisons(v *schema.Value, outer placed) (found []placed) {
	op := v.One()
	part := v.Get(op)
	outer.wait += v.Get("for").Duration()
	switch {
	case part == nil:
	case op == string(policy.Not):
		outer.positive, outer.alone = !outer.positive, false
		return comparisons(part, outer)
	case strings.HasPrefix(part.Of, "[]"):
		outer.alone, outer.joined = outer.alone && op == string(policy.Any), nil
		if op == string(policy.All) && outer.positive {
			outer.joined = v
		}
		for _, item := range part.List() {
			found = append(found, comparisons(item, outer)...)
		}
	case part.Get(part.One()) != nil:
		outer.Comparison, outer.at = comparisonOf(part), part.At
		outer.written = part.Get(part.One()).Word()
		found = []placed{outer}
	}
	return found
}

// up reports whether the comparison is true for large values.
func (p placed) up() bool { return p.Below != p.positive }

func (p placed) String() string {
	if p.positive {
		return p.Comparison.String()
	}
	return "not " + p.Comparison.String()
}

// measured returns what the comparison reads, without its threshold.
func (p placed) measured() policy.Comparison {
	c := p.Comparison
	c.Threshold, c.Below = 0, false
	return c
}

// moves reports conflicts between the enter and the leave of a tier, and between its
// enter and those of milder tiers.
func (d decoder) moves(tier *schema.Value, milder []*schema.Value) {
	root := placed{positive: true, alone: true}
	enter, leave := comparisons(tier.Get("enter"), root), comparisons(tier.Get("leave"), root)
	d.possible(enter)
	d.possible(leave)
	d.overlaps(enter, leave)
	for _, m := range milder {
		at, always := m.Get("enter"), tier.Get("enter").Word() == "always"
		if at == nil || at.Word() == "always" {
			continue
		}
		if always || implies(comparisons(at, root), enter) {
			d.Errorf(at.At, "tier %s is never entered by itself: the enter of tier %s (%s) is "+
				"true whenever this one is: put the milder tier first", id(m), id(tier), tier.At)
		}
	}
}

// overlaps reports each comparison in leave that can be true at the same value as one in
// enter: the tier would be entered and left at once.
func (d decoder) overlaps(enter, leave []placed) {
	for _, l := range leave {
		for _, e := range enter {
			if l.Signal != e.Signal || l.Of != e.Of {
				continue
			}
			up, down := e, l
			if !e.up() {
				up, down = l, e
			}
			switch {
			case e.up() != l.up() && down.Threshold <= up.Threshold:
			case d.Later(e.at, l.at):
				// A drop-in overrides only enter.
				d.Errorf(e.at, "enter %s overlaps leave %s (%s): change leave as well", e, l, l.at)
			default:
				d.Errorf(l.at, "leave %s overlaps enter %s (%s): %s", l, e, e.at, e.remedy())
			}
		}
	}
}

// remedy returns what to write in leave, for a comparison in enter.
func (p placed) remedy() string {
	switch {
	case p.Signal == policy.Pressure || p.Signal == policy.Events:
		return fmt.Sprintf("write not with %s or less", p.written)
	case p.up():
		return fmt.Sprintf("write below %s or less", p.written)
	}
	return fmt.Sprintf("write above %s or more", p.written)
}

// possible reports comparisons that are never true, by themselves or joined by all.
func (d decoder) possible(all []placed) {
	for _, down := range all {
		if down.Below && down.positive && down.Threshold == 0 {
			d.Errorf(down.at, "%s is never true: write more than 0", down)
		}
		for _, up := range all {
			if down.joined != nil && down.joined == up.joined && !down.up() && up.up() &&
				up.measured() == down.measured() && down.Threshold <= up.Threshold {
				d.Errorf(down.at, "%s and %s (%s) are never true together: join them with any",
					down, up, up.at)
			}
		}
	}
}

// implies reports whether, whenever one of the comparisons a is true, one of b alone
// makes its condition true, and not the other way round. Each of a must alone make its
// condition true.
func implies(a, b []placed) bool {
	stricter := false
	for _, x := range a {
		i := slices.IndexFunc(b, func(y placed) bool {
			harder := x.Threshold >= y.Threshold
			if x.Below {
				harder = x.Threshold <= y.Threshold
			}
			return y.alone && harder && x.wait >= y.wait &&
				x.measured() == y.measured() && x.Below == y.Below
		})
		if !x.alone || i < 0 {
			return false
		}
		stricter = stricter || x.Threshold != b[i].Threshold || x.wait != b[i].wait
	}
	return stricter
}
