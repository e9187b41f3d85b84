package trial

import (
	"fmt"
	"slices"
	"strings"

	"hapressure/policy"
	"hapressure/policy/schema"
)

// Failure is an expectation that is not met.
type Failure struct {
	File   string `json:"file"`   // the test file
	Line   int    `json:"line"`   // from 1
	Column int    `json:"column"` // from 1
	Test   string `json:"-"`      // its name
	Key    string `json:"key"`    // what is expected, such as "reloads-failed"
	Want   string `json:"want"`   // what was expected
	Got    string `json:"got"`    // what happened
}

func (t *Test) failure(at schema.Place, key, want, got string) Failure {
	return Failure{at.File, at.Line, at.Column, t.Name, key, want, got}
}

// String returns the failure as a difference, over three lines.
func (f Failure) String() string {
	return fmt.Sprintf("%s:%d:%d: test %s: %s\n  - %s\n  + %s", f.File, f.Line, f.Column,
		f.Test, f.Key, f.Want, f.Got)
}

// Check returns the expectations of a test that a run of a policy does not meet. Its
// error has the mistakes that show only now, as schema.Errors.
func (t *Test) Check(p *policy.Policy, r *Run) ([]Failure, error) {
	d := definition.Decoder(schema.Rules{})
	var failures []Failure
	for _, b := range t.Bounds {
		if got, text := r.figure(b); got < b.Least || b.Most >= 0 && got > b.Most {
			failures = append(failures, t.failure(b.At, b.key(), b.String(), text))
		}
	}
	names := []string{none}
	for _, tier := range p.Tiers {
		names = append(names, tier.Name)
	}
	for _, m := range t.Moments {
		if m.To < 0 {
			m.To = r.Took
		}
		tier := slices.Index(names, m.Tier.Name)
		switch {
		case tier < 0:
			d.Errorf(m.Tier.At, "the policy has no tier %q: %s", m.Tier.Name,
				schema.Suggest(m.Tier.Name, names))
			continue
		case max(m.From, m.To) > r.Took:
			d.Errorf(m.At, "%s is after the end, which is at %s", m.key(),
				policy.FormatDuration(r.Took))
			continue
		}
		if got := m.missed(tier, r.during(m.From, m.To)); got != "" {
			failures = append(failures, t.failure(m.At, m.key(), m.String(), got))
		}
	}
	slices.SortStableFunc(failures, func(a, b Failure) int { return a.Line - b.Line })
	return failures, d.Err()
}

// figure returns what a bound is about, as a number and as text.
func (r *Run) figure(b Bound) (value float64, text string) {
	n := 0
	switch b.Of {
	case "peak":
		return r.Result.Peak, size(r.Result.Peak) + " of " + size(r.Result.Max)
	case "reloads-failed":
		return float64(r.Result.Failed), fmt.Sprintf("%d of %d", r.Result.Failed, r.Result.Reloads)
	case "oom-kills":
		n = r.Result.Killed
	case "outages":
		n = r.Result.Outages
	case "connections-cut":
		n = r.Result.Cut
	case "actions":
		n = r.Actions[b.Kind]
	case "withheld":
		n = r.Withheld[b.Kind]
	}
	return float64(n), fmt.Sprint(n)
}

// missed returns the first stay of a time that is not as expected, or the harshest one if
// none reaches the tier; "" if all is as expected.
func (m Moment) missed(tier int, stays []Stay) string {
	if m.Relation == "reaches" {
		harshest := slices.MaxFunc(stays, func(a, b Stay) int { return a.Tier - b.Tier })
		if harshest.Tier >= tier {
			return ""
		}
		return "at most " + harshest.String()
	}
	for _, s := range stays {
		switch {
		case m.Relation == "at-least" && s.Tier >= tier, m.Relation == "at-most" && s.Tier <= tier,
			s.Tier == tier:
		default:
			return s.String()
		}
	}
	return ""
}

func (s Stay) String() string {
	if s.Why == "" {
		return s.Name
	}
	why, _, _ := strings.Cut(s.Why, "; not met: ") // what is true is enough
	return fmt.Sprintf("%s, from %s on: %s", s.Name, policy.FormatDuration(s.From), why)
}
