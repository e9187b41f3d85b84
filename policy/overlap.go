package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// placed is one comparison of a condition.
type placed struct {
	test     Test
	positive bool // not under a not
	at       place
	wait     time.Duration // its for and those around it
}

// comparisons returns all comparisons in a condition that was understood.
func comparisons(v *value, positive bool) []placed {
	if v == nil || v.text != "" {
		return nil
	}
	part := v.get(v.one())
	var found []placed
	switch op := v.one(); {
	case part == nil:
	case op == string(Not):
		found = comparisons(part, !positive)
	case strings.HasPrefix(part.of, "[]"):
		for _, item := range part.list() {
			found = append(found, comparisons(item, positive)...)
		}
	case part.get(part.one()) != nil:
		found = []placed{{test: test(part), positive: positive, at: part.at}}
	}
	for i := range found {
		found[i].wait += v.get("for").duration()
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

// same tells whether two comparisons are of the same signal; exactly: measured the same way as well.
func same(a, b Test, exactly bool) bool {
	return a.Signal == b.Signal && a.Of == b.Of && (!exactly || a.Window == b.Window && a.Average == b.Average)
}

// overlaps reports each comparison in leave that can be true at a value at which one of enter's is as well: the tier
// would be entered and left at once.
func (d *decoder) overlaps(enter, leave []placed) {
	for _, l := range leave {
		for _, e := range enter {
			if !same(l.test, e.test, false) {
				continue
			}
			up, down := e, l
			if !e.up() {
				up, down = l, e
			}
			if e.up() != l.up() && down.test.Limit <= up.test.Limit {
				continue
			}
			if at := d.later(e.at, l.at); at != l.at { // a drop-in changed the enter alone
				d.errorf(at, "enter %s overlaps leave %s of %s: change leave as well", e, l, l.at.from(at))
			} else {
				d.errorf(at, "leave %s overlaps enter %s of %s: %s", l, e, e.at.from(at), overlapRemedy(e))
			}
		}
	}
}

// later returns the place in the file that was laid over the other's, b in the same one: there it was changed last.
func (d *decoder) later(a, b place) place {
	if slices.Index(d.files, a.file) > slices.Index(d.files, b.file) {
		return a
	}
	return b
}

func overlapRemedy(e placed) string {
	limit := e.test.format(e.test.Limit)
	switch {
	case e.test.Signal == Pressure || e.test.Signal == Events:
		return fmt.Sprintf("write not with %s or less", limit)
	case e.up():
		return fmt.Sprintf("write below %s or less", limit)
	default:
		return fmt.Sprintf("write above %s or more", limit)
	}
}

// possible reports comparisons that are never true, alone or joined by all.
func (d *decoder) possible(v *value) {
	if v == nil {
		return
	}
	var joined []placed
	for _, item := range v.get(v.one()).list() {
		if c := comparisons(item, true); len(c) == 1 && v.one() == string(All) {
			joined = append(joined, c[0])
		}
		d.possible(item)
	}
	for _, down := range joined {
		for _, up := range joined {
			if !down.up() && up.up() && same(up.test, down.test, true) && down.test.Limit <= up.test.Limit {
				d.errorf(down.at, "%s is never true together with %s of %s: join them with any", down, up, up.at.from(down.at))
			}
		}
	}
	if test := v.get(v.one()); test.get("below") != nil && test.get("below").amount() == 0 {
		d.errorf(test.at, "%s below %s is never true: write more than 0", test.of, test.get("below").text)
	}
}

// reachable reports tiers that are never entered by themselves, because whenever their enter is true that of a harsher one is too.
func (d *decoder) reachable(milder []*value, v *value) {
	harsher := v.get("enter")
	for _, m := range milder {
		enter := m.get("enter")
		if enter.word() == "always" || harsher == nil || enter == nil {
			continue
		}
		if harsher.word() == "always" || implies(alternatives(enter), alternatives(harsher)) {
			d.errorf(enter.at, "tier %s is never entered by itself: the enter of tier %s of %s is true whenever this one is: put the milder tier first",
				m.get("name").word(), v.get("name").word(), v.at.from(enter.at))
		}
	}
}

// alternatives returns the comparisons of which one is enough, nil where it is not as simple.
func alternatives(v *value) []placed {
	switch op := v.one(); {
	case v.text != "" || op == string(All) || op == string(Not):
		return nil
	case op == string(Any):
		for _, item := range v.get(op).list() {
			if len(alternatives(item)) == 0 {
				return nil
			}
		}
	}
	return comparisons(v, true)
}

// implies tells whether each of a comes with one of b, and is not the same throughout.
func implies(a, b []placed) bool {
	stricter := false
	for _, x := range a {
		i := slices.IndexFunc(b, func(y placed) bool {
			harder := x.test.Limit >= y.test.Limit
			if x.test.Below {
				harder = x.test.Limit <= y.test.Limit
			}
			return same(x.test, y.test, true) && x.test.Below == y.test.Below && harder && x.wait >= y.wait
		})
		if i < 0 {
			return false
		}
		stricter = stricter || x.test.Limit != b[i].test.Limit || x.wait != b[i].wait
	}
	return stricter && len(a) > 0
}

// from tells where a place is, seen from another.
func (p place) from(other place) string {
	if p.file == other.file {
		return fmt.Sprintf("line %d", p.line)
	}
	return p.String()
}
