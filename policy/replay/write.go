package replay

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

//go:embed page.html
var page string

// WriteHTML writes a self-contained page with the curves and the entries of each run.
func (v *View) WriteHTML(w io.Writer, runs []*Run) error {
	before, after, _ := strings.Cut(page, "{{DATA}}")
	return write(w, func(s *stream) {
		s.text(before)
		// json.Marshal escapes < and >, so that no text can end the script element around
		// it.
		s.replay(v, runs, func() {
			s.text(`,"Curve":`)
			list(s, thin(v.curve.points))
			s.field(`,"Thresholds":`, thresholds(runs))
		})
		s.text(after)
	})
}

// threshold is a value at which a run enters a tier.
type threshold struct {
	Tier   string  `json:"Tier"`
	Signal string  `json:"Signal"`
	Of     string  `json:"Of"`
	Value  float64 `json:"Value"`
	Text   string  `json:"Text"`
}

// thresholds returns those of all runs, each once.
func thresholds(runs []*Run) []threshold {
	all := []threshold{}
	for _, r := range runs {
		if r.policy == nil { // nothing was played
			continue
		}
		for i := range r.policy.Tiers {
			tier := &r.policy.Tiers[i]
			for _, c := range tier.Thresholds() {
				t := threshold{tier.Name, c.Signal, c.Of, c.Threshold, c.String()}
				if !slices.Contains(all, t) {
					all = append(all, t)
				}
			}
		}
	}
	return all
}

// stream writes JSON piece by piece: to encode a replay as one value would take several
// times the memory of its entries.
type stream struct {
	w   *bufio.Writer // keeps the first error
	err error         // of encoding
}

func write(w io.Writer, fill func(*stream)) error {
	s := stream{w: bufio.NewWriter(w)}
	fill(&s)
	if s.err != nil {
		return fmt.Errorf("encoding a replay: %w", s.err)
	}
	return s.w.Flush()
}

func (s *stream) text(text string) { s.w.WriteString(text) }

func (s *stream) value(v any) {
	b, err := json.Marshal(v)
	if err != nil && s.err == nil {
		s.err = err
	}
	s.w.Write(b)
}

func (s *stream) field(name string, v any) {
	s.text(name)
	s.value(v)
}

func list[T any](s *stream, all []T) {
	s.text("[")
	for i := range all {
		if i > 0 {
			s.text(",")
		}
		s.value(&all[i])
	}
	s.text("]")
}

// replay writes the object of a replay. more writes additional fields of it.
func (s *stream) replay(v *View, runs []*Run, more func()) {
	s.field(`{"Target":`, v.Target)
	s.field(`,"From":`, v.From)
	s.field(`,"To":`, v.To)
	s.field(`,"Samples":`, v.Samples)
	more()
	s.text(`,"Runs":[`)
	for i, r := range runs {
		if i > 0 {
			s.text(",")
		}
		s.field(`{"Name":`, r.Name)
		s.text(`,"Entries":`)
		list(s, r.Entries)
		s.field(`,"Spent":`, r.Spent)
		s.text("}")
	}
	s.text("]}")
}
