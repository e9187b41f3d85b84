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

// form is one kind of mapping. What the fields mean is told in language.yaml.
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

// scalar is one kind of value that is a single word.
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
		panic(fmt.Sprintf("decoding language.yaml: %v", err)) // a test decodes it: cannot happen in a release
	}
	for i := range language.Forms {
		f := &language.Forms[i]
		f.What = cmp.Or(f.What, f.Name)
		for j := range f.Keys {
			f.Keys[j].Of = cmp.Or(f.Keys[j].Of, f.Keys[j].Name)
		}
	}
	for _, s := range language.Scalars {
		s.Pattern = "^(?:" + strings.NewReplacer("{whole}", whole, "{decimal}", decimal).Replace(s.Pattern) + ")$"
		s.regexp = regexp.MustCompile(s.Pattern)
	}
}

// badName tells what is wrong with a unit or cgroup that its pattern cannot find, "" for nothing.
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
	case scalar == "cgroup" && (slices.Contains(strings.Split(text, "/"), "..") || path.Clean("/"+text) == "/"):
		return "does not name a group below the mount: write for example haproxy.slice"
	}
	return ""
}

// formOf returns a form, or nil where the name is a scalar's.
func formOf(name string) *form {
	i := slices.IndexFunc(language.Forms, func(f form) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &language.Forms[i]
}

// names returns the form's keys; of one group, or all with 0.
func (f *form) names(one int) []string {
	var names []string
	for _, k := range f.Keys {
		if one == 0 || k.One == one {
			names = append(names, k.Name)
		}
	}
	return names
}
