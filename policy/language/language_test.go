package language

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hapressure/tests/golden"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// TestLanguageRefersToItself asserts that the table is whole: each key's value is a form
// or a scalar, each default is a value of it, and each example and bound can be read.
func TestLanguageRefersToItself(t *testing.T) {
	dec := yaml.NewDecoder(bytes.NewReader(languageYAML))
	dec.KnownFields(true)
	var again struct {
		Forms   []form
		Scalars map[string]*scalar
	}
	if err := dec.Decode(&again); err != nil {
		t.Fatal(err)
	}
	for _, f := range language.Forms {
		if language.Scalars[f.Name] != nil {
			t.Errorf("%s is a form and a scalar", f.Name)
		}
		for _, k := range f.Keys {
			of := strings.TrimPrefix(k.Of, "[]")
			s := language.Scalars[of]
			if s == nil && formOf(of) == nil {
				t.Errorf("%s %s is of %s, which is not there", f.Name, k.Name, k.Of)
			}
			if s != nil && k.Default != "" && s.problem(of, k.Default) != "" {
				t.Errorf("%s %s: %s", f.Name, k.Name, s.problem(of, k.Default))
			}
		}
	}
	for _, k := range formOf("action").Keys {
		if does[k.Name] == "" {
			t.Errorf("%s is not explained", k.Name)
		}
	}
	for name, s := range language.Scalars {
		example, _ := strings.CutPrefix(s.Write, "for example ")
		for _, text := range []string{s.Lo, s.Hi, example} {
			if text != "" && name != "tier-name" && s.problem(name, text) != "" {
				t.Errorf("%s: %s", name, s.problem(name, text))
			}
		}
	}
}

func TestSchemaIsCurrent(t *testing.T) { golden.Check(t, "schema.json", schema()) }

func TestReferenceIsCurrent(t *testing.T) {
	golden.Check(t, "../../docs/policy-reference.md", reference(t))
}

// beyondSchema are the bad samples that the schema lets pass: it sees what YAML makes of
// a value, one file and one value at a time.
var beyondSchema = []string{
	"action-twice", "always-with-leave", "anchor-unused", "cgroup-bad-glob", "cgroup-upwards", "deep", "drop-in-of-no-tier",
	"drop-in-overlaps", "duration-overflow", "floor-above-limit", "halve-every-without-floor", "hexadecimal", "hook-relative",
	"hook-timeout-too-long", "leave-missing",
	"never-below-zero", "never-not-itself", "never-together", "number-with-leading-zero", "only-cache-of-zero", "overlap",
	"overlap-downwards", "overlap-same-direction", "overlap-under-not", "percent-too-large", "pressure-of-0", "second-document",
	"settle-too-long", "tag", "target-cgroup-twice", "target-tier-overlap", "target-tier-twice", "target-tier-unknown", "target-twice",
	"the-root-cgroup", "tier-name-twice", "tier-without-leave", "underscore", "unit-bad-glob", "unreachable-before-always",
	"unreachable-by-for", "unreachable-by-threshold", "unreachable-downwards", "window-too-long", "window-too-short", "zeros",
}

// TestSchemaAndSamples asserts that the schema and Decode agree on each sample.
func TestSchemaAndSamples(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("policy.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	passes := func(files []File) bool {
		for _, f := range files {
			var v any
			if yaml.Unmarshal(f.Text, &v) != nil || s.Validate(v) != nil {
				return false
			}
		}
		return true
	}
	good := samples(t, "good")
	maps.Copy(good, readyPolicies(t))
	for name, files := range good {
		if !passes(files) {
			t.Errorf("%s does not pass", name)
		}
	}
	if !passes([]File{BuiltIn}) {
		t.Error("the built-in policy does not pass")
	}
	var beyond []string
	for name, files := range samples(t, "bad") {
		if passes(files) {
			beyond = append(beyond, filepath.Base(name))
		}
	}
	slices.Sort(beyond)
	if !slices.Equal(beyond, beyondSchema) {
		t.Errorf("these bad samples pass: %q", beyond)
	}
}

// reference writes docs/policy-reference.md: testdata/reference.md and a table of each
// form.
func reference(t *testing.T) string {
	t.Helper()
	introduction, err := os.ReadFile("testdata/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	s.Write(introduction)
	for i := range language.Forms {
		f := &language.Forms[i]
		fmt.Fprintf(&s, "\n## %s\n\n", f.Name)
		if f.Doc != "" {
			fmt.Fprintf(&s, "%s\n\n", f.Doc)
		}
		s.WriteString("| key | value | default | |\n|---|---|---|---|\n")
		for _, k := range f.Keys {
			fmt.Fprintf(&s, "| `%s` | %s | %s | %s |\n", k.Name, k.values(), k.leftOut(), k.Doc)
		}
		for group := 1; len(f.names(group)) > 0; group++ {
			fmt.Fprintf(&s, "\nExactly one of `%s`.\n", strings.Join(f.names(group), "`, `"))
		}
	}
	s.WriteString("\n## Values\n\n| value | | from | to |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(language.Scalars)) {
		sc := language.Scalars[name]
		how := sc.Write
		if sc.Words != nil {
			how = "`" + strings.Join(sc.Words, "`, `") + "`"
		}
		if sc.Doc != "" {
			how += "; " + sc.Doc
		}
		fmt.Fprintf(&s, "| <a id=\"value-%s\"></a>%s | %s | %s | %s |\n", name, name, how, sc.Lo, sc.Hi)
	}
	return s.String()
}

func (k *key) values() string {
	item, list := strings.CutPrefix(k.Of, "[]")
	link := "[" + item + "](#" + item + ")"
	if formOf(item) == nil {
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

func (k *key) leftOut() string {
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

// schema writes the JSON Schema (draft 2020-12) of the language. What it cannot say, as
// what is between values, is left to Decode.
func schema() string {
	root := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A policy of hapressure",
		"$ref": "#/$defs/policy", "$defs": object{},
	}
	defs := root["$defs"].(object)
	for i := range language.Forms {
		defs[language.Forms[i].Name] = language.Forms[i].schema()
	}
	for name, s := range language.Scalars {
		defs[name] = s.schema()
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // maps, slices, strings and numbers only
	}
	return string(text) + "\n"
}

func (f *form) schema() object {
	properties, need, groups := object{}, []string{}, []object{}
	for i, k := range f.Keys {
		properties[k.Name] = k.schema()
		if k.Need && (i == 0 || !f.Merges) {
			need = append(need, k.Name)
		}
	}
	for group := 1; len(f.names(group)) > 0; group++ {
		var one []object
		for _, name := range f.names(group) {
			one = append(one, object{"required": []string{name}})
		}
		groups = append(groups, object{"oneOf": one})
	}
	s := object{"type": "object", "additionalProperties": false, "properties": properties, "required": need, "description": f.Doc}
	if len(groups) > 0 {
		s["allOf"] = groups
	}
	if f.Name == "only" {
		s["minProperties"] = 1
	}
	return s
}

func (k *key) schema() object {
	s := object{"description": k.Doc}
	item, list := strings.CutPrefix(k.Of, "[]")
	ref := object{"$ref": "#/$defs/" + item}
	switch {
	case list:
		s["type"], s["items"] = "array", ref
		if !k.Empty {
			s["minItems"] = 1
		}
	case k.Words != nil:
		s["anyOf"] = []object{ref, {"enum": values(k.Words)}}
	default:
		s["$ref"] = ref["$ref"]
	}
	if k.Default != "" {
		s["default"] = values([]string{k.Default})[0]
	}
	return s
}

func (s *scalar) schema() object {
	switch {
	case s.Words != nil:
		return object{"enum": values(s.Words)}
	case s.Lo != "" && s.regexp.MatchString("1"):
		kind := "integer"
		if s.regexp.MatchString("1.5") {
			kind = "number"
		}
		return object{"type": kind, "minimum": amount(s.Lo), "maximum": amount(s.Hi)}
	}
	o := object{"type": "string", "pattern": s.Pattern, "description": s.Doc}
	if s.Lo == "" && s.regexp.MatchString("1") {
		o["type"] = []string{"string", "number", "boolean"} // as YAML reads what is taken as it was written
	}
	if s.Lo != "" && s.regexp.MatchString("0") {
		return object{"anyOf": []object{o, {"const": 0}}}
	}
	return o
}

// values are words as YAML reads them.
func values(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = w
		if n, err := strconv.Atoi(w); err == nil {
			out[i] = n
		} else if b, err := strconv.ParseBool(w); err == nil {
			out[i] = b
		}
	}
	return out
}
