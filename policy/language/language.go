// Package language makes policies of YAML files.
//
// language.yaml defines the language. Decode reads files strictly by that definition: an
// unknown key, a missing unit or conditions that contradict each other are errors, each
// with file, line and column. The JSON Schema, the reference and the text of
// Policy.Source are made of the same definition.
package language

import (
	"cmp"
	_ "embed"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

//go:embed language.yaml
var languageYAML []byte

// form is one kind of mapping. language.yaml explains the fields.
type form struct {
	Name, What, Doc, Hint string
	Merges                bool
	Keys                  []key
}

type key struct {
	Name, Of, Default, Doc string
	Words                  []string
	Need, Empty            bool
	One                    int
}

// scalar is one kind of single value.
type scalar struct {
	Pattern, Write, Unit, Lo, Hi, Doc string
	Words                             []string
	regexp                            *regexp.Regexp
}

const (
	whole   = `(?:0|[1-9][0-9]{0,11})`
	decimal = whole + `(?:\.[0-9]{1,9})?`
)

var language struct {
	Forms   []form
	Scalars map[string]*scalar
}

func init() {
	if err := yaml.Unmarshal(languageYAML, &language); err != nil {
		panic(fmt.Sprintf("decoding language.yaml: %v", err)) // cannot happen: a test decodes it
	}
	for i := range language.Forms {
		f := &language.Forms[i]
		f.What = cmp.Or(f.What, f.Name)
		for j := range f.Keys {
			f.Keys[j].Of = cmp.Or(f.Keys[j].Of, f.Keys[j].Name)
		}
	}
	for _, s := range language.Scalars {
		numbers := strings.NewReplacer("{whole}", whole, "{decimal}", decimal)
		s.Pattern = "^(?:" + numbers.Replace(s.Pattern) + ")$"
		s.regexp = regexp.MustCompile(s.Pattern)
	}
}

// badName returns what is wrong with the name of a unit or cgroup beyond its pattern, ""
// if nothing is.
func badName(scalar, text string) string {
	if scalar != "unit" && scalar != "cgroup" {
		return ""
	}
	if _, err := path.Match(text, ""); err != nil {
		return fmt.Sprintf("is not a valid glob: %v", err)
	}
	switch {
	case scalar == "unit" && strings.Contains(text, "/"):
		return "is a path: write cgroup: " + text
	case scalar == "cgroup" && (slices.Contains(strings.Split(text, "/"), "..") ||
		path.Clean("/"+text) == "/"):
		return "does not name a group below the mount: write for example haproxy.slice"
	}
	return ""
}

// formOf returns the form of a name, nil if the name is that of a scalar.
func formOf(name string) *form {
	i := slices.IndexFunc(language.Forms, func(f form) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &language.Forms[i]
}

// names returns the keys of the form: those with a number in one, or all for 0.
func (f *form) names(one int) []string {
	var names []string
	for _, k := range f.Keys {
		if one == 0 || k.One == one {
			names = append(names, k.Name)
		}
	}
	return names
}
