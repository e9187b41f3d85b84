package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// table collects what was measured.
type table struct{ rows []row }

type row struct {
	what, value, target string
	missed              bool
}

// add notes a figure that has no target.
func (t *table) add(what, format string, args ...any) {
	t.rows = append(t.rows, row{what: what, value: fmt.Sprintf(format, args...)})
}

// atLeast and atMost note a ratio and its target.
func (t *table) atLeast(what string, ratio, target float64) {
	t.rows = append(t.rows,
		row{what, fmt.Sprintf("%.2f", ratio), fmt.Sprintf("at least %.2f", target),
			!(ratio >= target)})
}

func (t *table) atMost(what string, ratio, target float64) {
	t.rows = append(t.rows,
		row{what, fmt.Sprintf("%.2f", ratio), fmt.Sprintf("at most %.2f", target),
			!(ratio <= target)})
}

var errMissed = errors.New("targets were missed")

func (t *table) print(w io.Writer) error {
	progress("")
	missed := 0
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, r := range t.rows {
		verdict := ""
		if r.target != "" {
			verdict = "met"
		}
		if r.missed {
			verdict = "MISSED"
			missed++
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", r.what, r.value, r.target, verdict)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if missed > 0 {
		return fmt.Errorf("%w: %d, see above", errMissed, missed)
	}
	return nil
}

// quantile returns the smallest value that at least this part of the values does not
// exceed.
func quantile[T cmp.Ordered](values []T, part float64) T {
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, int(part*float64(len(s))))]
}

func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }
