// Package schema reads YAML files strictly, by a definition of what they may contain.
//
// A definition is itself a YAML file; policy/language/language.yaml explains its form. A
// Decoder checks a file against it: an unknown key, a missing unit or a value out of
// range are mistakes, each with file, line, column and what to write instead. A file has
// no anchors, aliases or tags, and all mistakes are found at once.
package schema

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Definition is a language: the forms of its mappings, of which the first is that of a
// file, and its single values.
type Definition struct {
	Since   string // the version that introduced the keys without one of their own
	Forms   []Form
	Scalars map[string]*Scalar
}

// Form is one kind of mapping.
type Form struct {
	Name, What, Doc, Hint string
	Merges, Some          bool
	Depth                 int
	Keys                  []Key
}

// Key is one key of a mapping.
type Key struct {
	Name, Of, Default, Doc, Since string
	Words                         []string
	Need, Empty                   bool
	One                           int
}

// MustParse returns the definition in a YAML file. It panics if the file, which is a part
// of the program, is not one.
func MustParse(text []byte) *Definition {
	def := &Definition{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(def); err != nil {
		panic(fmt.Sprintf("decoding a definition: %v", err))
	}
	for i := range def.Forms {
		f := &def.Forms[i]
		f.What = cmp.Or(f.What, f.Name)
		for j := range f.Keys {
			f.Keys[j].Of = cmp.Or(f.Keys[j].Of, f.Keys[j].Name)
		}
	}
	for _, s := range def.Scalars {
		s.compile()
	}
	if err := def.check(); err != nil {
		panic(fmt.Sprintf("decoding a definition: %v", err))
	}
	return def
}

// check returns what the definition lacks: each key's value must be a form or a scalar,
// and each default, bound and example a value of its scalar.
func (def *Definition) check() error {
	var errs []error
	report := func(what string, s *Scalar, text string) {
		if problem := s.problem(text); text != "" && problem != "" {
			errs = append(errs, fmt.Errorf("%s: %s", what, problem))
		}
	}
	for _, f := range def.Forms {
		for _, k := range f.Keys {
			of := strings.TrimPrefix(k.Of, "[]")
			s := def.Scalars[of]
			if (s == nil) == (def.Form(of) == nil) {
				errs = append(errs, fmt.Errorf("%s %s: %s is not one thing", f.Name, k.Name, k.Of))
			}
			if s != nil {
				report(f.Name+" "+k.Name, s, k.Default)
			}
		}
	}
	for name, s := range def.Scalars {
		report(name, s, s.Lo)
		report(name, s, s.Hi)
		if example, ok := strings.CutPrefix(s.Write, "for example "); ok {
			report(name, s, example)
		}
	}
	return errors.Join(errs...)
}

// Form returns the form of a name, nil if the name is that of a scalar.
func (def *Definition) Form(name string) *Form {
	i := slices.IndexFunc(def.Forms, func(f Form) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &def.Forms[i]
}

// Names returns the keys of the form: those with a number in one, or all for 0.
func (f *Form) Names(one int) []string {
	var names []string
	for _, k := range f.Keys {
		if one == 0 || k.One == one {
			names = append(names, k.Name)
		}
	}
	return names
}
