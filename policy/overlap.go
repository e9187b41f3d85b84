package policy

import (
	"fmt"

	"gopkg.in/yaml.v3"
)

// conditions are the comparisons of one enter or leave, for overlaps.
type conditions []placed

type placed struct {
	test     Test
	positive bool // not under a not
	at       *yaml.Node
}

// overlaps reports each comparison in leave that can be true at a value at which one of enter's is as well: the tier
// would be entered and left at once.
func (d *decoder) overlaps(enter, leave conditions) {
	for _, l := range leave {
		for _, e := range enter {
			if l.test.Signal != e.test.Signal || l.test.Of != e.test.Of {
				continue
			}
			up, down := e, l
			if !e.up() {
				up, down = l, e
			}
			if e.up() != l.up() && down.test.Limit <= up.test.Limit {
				continue
			}
			d.errorf(l.at, "leave %s overlaps enter %s of line %d: %s", l, e, e.at.Line, overlapRemedy(e))
		}
	}
}

// up tells whether the comparison is true for large values.
func (p placed) up() bool { return p.test.Below != p.positive }

func (p placed) String() string {
	if p.positive {
		return p.test.String()
	}
	return "not " + p.test.String()
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
