package policy

import (
	"reflect"
	"testing"
)

func TestThresholds(t *testing.T) {
	leaf := func(signal string, value float64) Condition {
		return Condition{Op: Compare, Comparison: Comparison{Signal: signal, Threshold: value}}
	}
	usage, swap, shmem := leaf(Usage, 70), leaf(Swap, 1), leaf(Shmem, 2)
	not := Condition{Op: Not, Parts: []Condition{leaf(LimitIn, 3)}}
	alone := func(c Condition) Threshold { return Threshold{c.Comparison, true} }
	together := func(c Condition) Threshold { return Threshold{c.Comparison, false} }
	for _, tt := range []struct {
		enter Condition
		want  []Threshold
	}{
		{Condition{Op: Always}, nil},
		{usage, []Threshold{alone(usage)}},
		{not, nil},
		{Condition{Op: All, Parts: []Condition{usage}}, []Threshold{alone(usage)}},
		{
			Condition{Op: Any, Parts: []Condition{
				usage, {Op: All, Parts: []Condition{swap, {Op: Any, Parts: []Condition{shmem}}, not}},
			}},
			[]Threshold{alone(usage), together(swap), together(shmem)},
		},
	} {
		tier := Tier{Enter: tt.enter}
		if got := tier.Thresholds(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.enter, got, tt.want)
		}
	}
}
