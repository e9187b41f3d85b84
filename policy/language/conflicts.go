package language

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hapressure/policy"
)

// placed is one comparison of a condition, and what the conditions around it make of it.
type placed struct {
	test     policy.Comparison
	limit    string // of the test, as written
	at       place
	positive bool          // not under a not
	alone    bool          // it is enough for the whole to be true
	joined   *value        // the all that it is directly in
	wait     time.Duration // its for and those around it
}

// comparisons returns all comparisons in a condition that were understood. outer is what is around it.
func comparisons(v *value, outer placed) (found []placed) {
	op := v.one()
	part := v.get(op)
	outer.wait += v.get("for").duration()
	switch {
	case part == nil:
	case op == string(policy.Not):
		outer.positive, outer.alone = !outer.positive, false
		return comparisons(part, outer)
	case strings.HasPrefix(part.of, "[]"):
		outer.alone, outer.joined = outer.alone && op == string(policy.Any), nil
		if op == string(policy.All) && outer.positive {
			outer.joined = v
		}
		for _, item := range part.list() {
			found = append(found, comparisons(item, outer)...)
		}
	case part.get(part.one()) != nil:
		outer.test, outer.limit, outer.at = test(part), part.get(part.one()).word(), part.at
		found = []placed{outer}
	}
	return found
}

// up tells whether the comparison is true for large values.
func (p placed) up() bool { return p.test.Below != p.positive }

func (p placed) String() string {
	if p.positive {
		return p.test.String()
	}
	return "not " + p.test.String()
}

// moves reports what is wrong between the comparisons of a tier's enter and leave, and with harsher tiers' enter in those of milder ones.
func (d *decoder) moves(tier *value, milder []*value) {
	root := placed{positive: true, alone: true}
	enter, leave := comparisons(tier.get("enter"), root), comparisons(tier.get("leave"), root)
	d.possible(enter)
	d.possible(leave)
	d.overlaps(enter, leave)
	for _, m := range milder {
		at, always := m.get("enter"), tier.get("enter").word() == "always"
		if at != nil && at.word() != "always" && (always || implies(comparisons(at, root), enter)) {
			d.errorf(at.at, "tier %s is never entered by itself: the enter of tier %s (%s) is true whenever this one is: put the milder tier first",
				m.id(), tier.id(), tier.at)
		}
	}
}

// overlaps reports each comparison in leave that can be true at a value at which one of enter's is as well: the tier
// would be entered and left at once.
func (d *decoder) overlaps(enter, leave []placed) {
	for _, l := range leave {
		for _, e := range enter {
			if l.test.Signal != e.test.Signal || l.test.Of != e.test.Of {
				continue
			}
			up, down := e, l
			if !e.up() {
				up, down = l, e
			}
			switch {
			case e.up() != l.up() && down.test.Limit <= up.test.Limit:
			case slices.Index(d.files, e.at.file) > slices.Index(d.files, l.at.file): // a drop-in changed the enter alone
				d.errorf(e.at, "enter %s overlaps leave %s (%s): change leave as well", e, l, l.at)
			default:
				d.errorf(l.at, "leave %s overlaps enter %s (%s): %s", l, e, e.at, e.remedy())
			}
		}
	}
}

// remedy tells what to write in leave, for a comparison in enter.
func (p placed) remedy() string {
	how := map[bool]string{true: "write below %s or less", false: "write above %s or more"}[p.up()]
	if p.test.Signal == policy.Pressure || p.test.Signal == policy.Events {
		how = "write not with %s or less"
	}
	return fmt.Sprintf(how, p.limit)
}

// measured is what a test compares, without the limit.
func measured(t policy.Comparison) policy.Comparison {
	t.Limit, t.Below = 0, false
	return t
}

// possible reports comparisons that are never true, alone or joined by all.
func (d *decoder) possible(all []placed) {
	for _, down := range all {
		if down.test.Below && down.positive && down.test.Limit == 0 {
			d.errorf(down.at, "%s is never true: write more than 0", down)
		}
		for _, up := range all {
			if down.joined != nil && down.joined == up.joined && !down.up() && up.up() &&
				measured(up.test) == measured(down.test) && down.test.Limit <= up.test.Limit {
				d.errorf(down.at, "%s is never true together with %s (%s): join them with any", down, up, up.at)
			}
		}
	}
}

// implies tells whether a condition of the comparisons a, each of which is enough, is only true when one of b is enough for its own,
// and not the same throughout.
func implies(a, b []placed) bool {
	stricter := false
	for _, x := range a {
		i := slices.IndexFunc(b, func(y placed) bool {
			harder := x.test.Limit >= y.test.Limit
			if x.test.Below {
				harder = x.test.Limit <= y.test.Limit
			}
			return y.alone && measured(x.test) == measured(y.test) && x.test.Below == y.test.Below && harder && x.wait >= y.wait
		})
		if !x.alone || i < 0 {
			return false
		}
		stricter = stricter || x.test.Limit != b[i].test.Limit || x.wait != b[i].wait
	}
	return stricter
}
