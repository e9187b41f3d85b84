// Package schematest makes the JSON Schema and the reference of a language, and checks
// the versions of its keys.
package schematest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"hapressure/policy/schema"
)

// Reference returns a page of Markdown: an introduction, a table of each form, and one of
// the values.
func Reference(def *schema.Definition, introduction string) string {
	var s strings.Builder
	s.WriteString(introduction)
	for i := range def.Forms {
		f := &def.Forms[i]
		fmt.Fprintf(&s, "\n## %s\n\n", f.Name)
		if f.Doc != "" {
			fmt.Fprintf(&s, "%s\n\n", f.Doc)
		}
		s.WriteString("| key | value | default | since | |\n|---|---|---|---|---|\n")
		for _, k := range f.Keys {
			fmt.Fprintf(&s, "| `%s` | %s | %s | %s | %s |\n", k.Name, values(def, &k), leftOut(&k),
				cmp.Or(k.Since, def.Since), k.Doc)
		}
		for group := 1; len(f.Names(group)) > 0; group++ {
			fmt.Fprintf(&s, "\nExactly one of `%s`.\n", strings.Join(f.Names(group), "`, `"))
		}
		if f.Some {
			fmt.Fprintf(&s, "\nAt least one of `%s`.\n", strings.Join(f.Names(0), "`, `"))
		}
	}
	s.WriteString("\n## Values\n\n| value | | from | to |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(def.Scalars)) {
		sc := def.Scalars[name]
		how := sc.Write
		if sc.Words != nil {
			how = "`" + strings.Join(sc.Words, "`, `") + "`"
		}
		if sc.Doc != "" {
			how += "; " + sc.Doc
		}
		fmt.Fprintf(&s, "| <a id=\"value-%s\"></a>%s | %s | %s | %s |\n",
			name, name, how, sc.Lo, sc.Hi)
	}
	return s.String()
}

func values(def *schema.Definition, k *schema.Key) string {
	item, list := strings.CutPrefix(k.Of, "[]")
	link := "[" + item + "](#" + item + ")"
	if def.Form(item) == nil {
		link = "[" + item + "](#value-" + item + ")"
	}
	if k.Words != nil {
		link = "`" + strings.Join(k.Words, "`, `") + "` or " + link
	}
	if list {
		link = "list of " + link
	}
	return link
}

func leftOut(k *schema.Key) string {
	switch {
	case k.Need:
		return "required"
	case k.Default != "":
		return "`" + k.Default + "`"
	}
	return ""
}

// object is a JSON object. encoding/json writes its keys in alphabetical order.
type object = map[string]any

// JSON returns the JSON Schema (draft 2020-12) of a language. What it cannot say, as what
// is between values, is left to the decoder.
func JSON(def *schema.Definition, title string) string {
	defs := object{}
	root := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title,
		"$ref": "#/$defs/" + def.Forms[0].Name, "$defs": defs,
	}
	for i := range def.Forms {
		defs[def.Forms[i].Name] = form(def, &def.Forms[i])
	}
	for name, s := range def.Scalars {
		defs[name] = scalar(s)
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // maps, slices, strings and numbers only
	}
	return string(text) + "\n"
}

func form(def *schema.Definition, f *schema.Form) object {
	properties, need, groups := object{}, []string{}, []object{}
	for i, k := range f.Keys {
		properties[k.Name] = key(def, &k)
		if k.Need && (i == 0 || !f.Merges) {
			need = append(need, k.Name)
		}
	}
	for group := 1; len(f.Names(group)) > 0; group++ {
		var one []object
		for _, name := range f.Names(group) {
			one = append(one, object{"required": []string{name}})
		}
		groups = append(groups, object{"oneOf": one})
	}
	s := object{"type": "object", "additionalProperties": false, "properties": properties,
		"required": need, "description": f.Doc}
	if len(groups) > 0 {
		s["allOf"] = groups
	}
	if f.Some {
		s["minProperties"] = 1
	}
	return s
}

func key(def *schema.Definition, k *schema.Key) object {
	since := "Since " + cmp.Or(k.Since, def.Since) + "."
	s := object{"description": strings.TrimSpace(k.Doc + " " + since)}
	item, list := strings.CutPrefix(k.Of, "[]")
	ref := object{"$ref": "#/$defs/" + item}
	switch {
	case list:
		s["type"], s["items"] = "array", ref
		if !k.Empty {
			s["minItems"] = 1
		}
	case k.Words != nil:
		s["anyOf"] = []object{ref, {"enum": words(k.Words)}}
	default:
		s["$ref"] = ref["$ref"]
	}
	if k.Default != "" {
		s["default"] = words([]string{k.Default})[0]
	}
	return s
}

func scalar(s *schema.Scalar) object {
	pattern := regexp.MustCompile(s.Pattern)
	switch {
	case s.Words != nil:
		return object{"enum": words(s.Words)}
	case s.Lo != "" && pattern.MatchString("1"):
		kind := "integer"
		if pattern.MatchString("1.5") {
			kind = "number"
		}
		return object{"type": kind, "minimum": number(s.Lo), "maximum": number(s.Hi)}
	}
	o := object{"type": "string", "pattern": s.Pattern, "description": s.Doc}
	if s.Lo == "" && pattern.MatchString("1") {
		// As YAML reads what is taken as it was written.
		o["type"] = []string{"string", "number", "boolean"}
	}
	if s.Lo != "" && pattern.MatchString("0") {
		return object{"anyOf": []object{o, {"const": 0}}}
	}
	return o
}

// words are words as YAML reads them.
func words(written []string) []any {
	out := make([]any, len(written))
	for i, w := range written {
		out[i] = w
		if n, err := strconv.Atoi(w); err == nil {
			out[i] = n
		} else if b, err := strconv.ParseBool(w); err == nil {
			out[i] = b
		}
	}
	return out
}

func number(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(err) // the definition was checked
	}
	return v
}

// Passes returns a function that reports whether a YAML file passes a JSON Schema.
func Passes(t testing.TB, text []byte) func(yamlFile []byte) bool {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(yamlFile []byte) bool {
		var v any
		return yaml.Unmarshal(yamlFile, &v) == nil && s.Validate(v) == nil
	}
}

var released = regexp.MustCompile(`(?m)^## (?:Unreleased \()?([0-9]+\.[0-9]+\.[0-9]+)`)

// Versions checks that each key names the version that introduced it, except those of the
// first version, which are listed in a file that must not grow; and that the changelog
// has each of these versions.
func Versions(t testing.TB, def *schema.Definition, first, changelog string) {
	t.Helper()
	listed, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := os.ReadFile(changelog)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range released.FindAllSubmatch(changes, -1) {
		known[string(m[1])] = true
	}
	for _, f := range def.Forms {
		for _, k := range f.Keys {
			name := f.Name + " " + k.Name
			switch inFirst := slices.Contains(strings.Split(string(listed), "\n"), name); {
			case k.Since == "" && !inFirst:
				t.Errorf("%s is new: add since: and the next version of %s", name, changelog)
			case !known[cmp.Or(k.Since, def.Since)]:
				t.Errorf("%s: %s has no version %s", name, changelog, cmp.Or(k.Since, def.Since))
			}
		}
	}
}
