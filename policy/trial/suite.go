// Package trial tests policies: a test file names scenarios and recordings, and what the
// policy under test must come to in them.
package trial

import (
	_ "embed"
	"fmt"
	"path"
	"strings"
	"time"

	"hapressure/policy"
	"hapressure/policy/schema"
)

//go:embed trial.yaml
var trialYAML []byte

var definition = schema.MustParse(trialYAML)

// Schema is the JSON Schema (draft 2020-12) of a test file, for editors. go test -update
// generates it from trial.yaml.
//
//go:embed schema.json
var Schema []byte

// maxTests bounds a test file. Each test takes half a minute at most.
const maxTests = 100

// Suite is a test file.
type Suite struct {
	Policy []Path // none = the built-in policy
	Tests  []Test
}

// Path is the name of a file, and where it is written.
type Path struct {
	Name string
	At   schema.Place
}

// Test is one test. Either Scenario or Recordings are set.
type Test struct {
	Name       string
	At         schema.Place
	Scenario   Path
	Recordings []Path
	Target     Path // its name; "" = the policy without overrides
	Bounds     []Bound
	Moments    []Moment
}

// Bound is an expectation of a number.
type Bound struct {
	At    schema.Place
	Of    string // the key in the file
	Kind  string // of action; "" = the number is not that of an action
	Least float64
	Most  float64 // below 0 = no bound
}

// Moment is an expectation of a tier.
type Moment struct {
	At       schema.Place
	From, To time.Duration // equal for one time; To below 0 = the end
	Relation string        // is, at-least, at-most or reaches
	Tier     Path          // its name
}

// none is the name of the time before the first tier.
const none = "none"

// Decode decodes a test file. It reports all mistakes at once, as schema.Errors.
func Decode(f schema.File) (*Suite, error) {
	d := decoder{definition.Decoder(schema.Rules{BadName: badName, ID: id})}
	v := d.Document(f)
	s := &Suite{Policy: paths(v.Get("policy"))}
	tests := v.Get("tests")
	if n := len(tests.List()); n > maxTests {
		d.Errorf(tests.At, "tests has %d tests: write at most %d into one file", n, maxTests)
	}
	for _, t := range tests.List() {
		s.Tests = append(s.Tests, d.test(t))
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

func badName(scalar, text string) string {
	if scalar == "path" && path.Clean(text) == "-" {
		return "is standard input, which a test cannot read: name a file"
	}
	return ""
}

// id returns the name of a test, which must be unique.
func id(v *schema.Value) string {
	if v.Of == "test" {
		return v.Get("name").Word()
	}
	return ""
}

func pathOf(v *schema.Value) Path {
	if v == nil {
		return Path{}
	}
	return Path{v.Text, v.At}
}

func paths(v *schema.Value) (all []Path) {
	for _, item := range v.List() {
		all = append(all, pathOf(item))
	}
	return all
}

type decoder struct{ *schema.Decoder }

func (d decoder) test(v *schema.Value) Test {
	t := Test{Name: v.Get("name").Word(), At: v.At, Scenario: pathOf(v.Get("scenario")),
		Recordings: paths(v.Get("recordings")), Target: pathOf(v.Get("target"))}
	recorded := v.Get("recordings") != nil
	if recorded && t.Target.Name != "" {
		d.Errorf(t.Target.At, "target is that of the recordings: remove it")
	}
	expect := v.Get("expect")
	for _, key := range definition.Form("expect").Names(0) {
		part := expect.Get(key)
		if part == nil {
			continue
		}
		if recorded && key != "tiers" && key != "actions" {
			d.Errorf(part.At, "%s is not known of recordings: write a scenario, or remove it", key)
		}
		switch part.Of {
		case "bounds", "peak":
			t.Bounds = append(t.Bounds, d.bound(part, key, ""))
		case "actions":
			for _, kind := range policy.Kinds {
				if b := part.Get(kind); b != nil {
					t.Bounds = append(t.Bounds, d.bound(b, key, kind))
				}
			}
		default:
			for _, m := range part.List() {
				t.Moments = append(t.Moments, d.moment(m))
			}
		}
	}
	return t
}

func (d decoder) bound(v *schema.Value, key, kind string) Bound {
	least, most, exactly := v.Get("at-least"), v.Get("at-most"), v.Get("exactly")
	b := Bound{At: v.At, Of: key, Kind: kind, Least: least.Amount(), Most: -1}
	if most != nil {
		b.Most = most.Amount()
	}
	switch {
	case exactly != nil && (least != nil || most != nil):
		d.Errorf(v.At, "%s has exactly and another bound: write only exactly", b.key())
	case exactly != nil:
		b.Least, b.Most = exactly.Amount(), exactly.Amount()
	case least != nil && most != nil && b.Least > b.Most:
		d.Errorf(most.At, "%s at-most %s is below at-least %s: write at least that",
			b.key(), most.Text, least.Text)
	}
	return b
}

func (d decoder) moment(v *schema.Value) Moment {
	m := Moment{At: v.At}
	for _, relation := range definition.Form("moment").Names(2) {
		if tier := v.Get(relation); tier != nil {
			m.Relation, m.Tier = relation, pathOf(tier)
		}
	}
	if at := v.Get("at"); at != nil {
		m.From, m.To = at.Duration(), at.Duration()
		if v.Get("to") != nil {
			d.Errorf(v.Get("to").At, "to needs from: write from instead of at, or remove to")
		}
		if m.Relation == "reaches" {
			d.Errorf(m.Tier.At, "reaches needs from: write from instead of at, or at-least")
		}
		return m
	}
	m.From, m.To = v.Get("from").Duration(), -1
	if to := v.Get("to"); to != nil {
		if m.To = to.Duration(); m.To <= m.From {
			d.Errorf(to.At, "to %s is not after from %s: write a later time",
				to.Text, v.Get("from").Word())
		}
	}
	return m
}

// key returns the keys that lead to a bound.
func (b Bound) key() string {
	if b.Kind == "" {
		return b.Of
	}
	return b.Of + " " + b.Kind
}

// String returns what is expected.
func (b Bound) String() string {
	text := policy.FormatNumber
	if b.Of == "peak" {
		text = size
	}
	least, most := "at least "+text(b.Least), "at most "+text(b.Most)
	switch {
	case b.Least == b.Most:
		return "exactly " + text(b.Most)
	case b.Most < 0:
		return least
	case b.Least == 0:
		return most
	}
	return least + " and " + most
}

func size(bytes float64) string { return policy.FormatNumber(bytes/(1<<20)) + "MiB" }

// key returns the key of a moment, and its time.
func (m Moment) key() string {
	format := policy.FormatDuration
	if m.From == m.To {
		return "tiers at " + format(m.From)
	}
	return fmt.Sprintf("tiers from %s to %s", format(m.From), format(m.To))
}

// String returns what is expected.
func (m Moment) String() string {
	return strings.ReplaceAll(m.Relation, "-", " ") + " " + m.Tier.Name
}
