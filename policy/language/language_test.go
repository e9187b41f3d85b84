package language

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hapressure/tests/golden"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// TestLanguageRefersToItself holds that the table is whole: each key's value is a form or a scalar, each default is a value of it, and
// each example and bound can be read.
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
	golden.Check(t, filepath.FromSlash("../../docs/policy-reference.md"), reference())
}

// beyondSchema are the bad samples that the schema lets pass: it sees what YAML makes of a value, one file and one value at a time.
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

// TestSchemaAndSamples holds that the schema and Decode agree on each sample.
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

const introduction = `# The policy language

<!-- Written by "go test ./policy/language -run Current -update" from policy/language/language.yaml. -->

A policy says what is watched, and a ladder of tiers: when each is entered and left, and what it does meanwhile. It is YAML, read strictly:
a key or unit that is not known, a value out of range or conditions that contradict each other are errors, told all at once with file, line
and column. Nothing is guessed: every value has its unit, 010 is no number, and there are no anchors, aliases and tags.

    hapressure policy check            # the policy of this host; or check FILE...
    hapressure policy show             # what it comes to, with the place of each value
    hapressure policy explain          # in words
    hapressure policy schema           # JSON Schema, for editors

In an editor with the YAML language server, this line on top of a file brings completion and checks:

    # yaml-language-server: $schema=/usr/share/hapressure/policy.schema.json

## Files

` + "`/etc/hapressure/policy.yaml`" + ` is the policy; without it, or where it has no targets or no tiers, those are the built-in policy's. Files in
` + "`/etc/hapressure/policy.d`, `/run/hapressure/policy.d` and `/usr/lib/hapressure/policy.d`" + ` that end in .yaml are laid over it in the order of
their names, wherever they are. Of two of the same name the one in the folder named first here counts, and one that is a link to /dev/null
counts for nothing. All of them, and their folders, must be root's and nobody else's to write, or the policy does not come into force.

A drop-in's targets and tiers change those of the same name key by key; a new name is added at the end. Each file begins with
` + "`version: 1`" + `. This makes terminate spare two generations, and keeps the rest as it is:

    version: 1
    tiers:
      - name: terminate
        actions:
          - terminate-oldest: {keep: 2}

## How a tier acts

The tier rises at once to the harshest one whose ` + "`enter`" + ` is true. It falls one at a time: when the present one's ` + "`leave`" + ` has been true for its
` + "`for`" + ` and its ` + "`enter`" + ` is not. A tier acts once the milder ones have done what they can or have had their ` + "`settle`" + `; what costs connections
is not done while ` + "`leave`" + ` is true.

A tier with an action that costs connections is entered when its ` + "`enter`" + ` is true in two readings in a row; the second follows 0.1 s after the
first. It also acts, after its ` + "`leave`" + ` was true, only when that is false in two readings in a row. One wrong reading cuts no connection.

A limit that a signal is compared with does not lie in both ` + "`enter`" + ` and ` + "`leave`" + `: the tier would be entered and left at once.
` + "`above` and `below`" + ` do not include the limit itself; pressure and events are true at it.

An action's ` + "`only`" + ` is for some of the stopping workers. Harsher tiers do not wait for the others.

## Readings that cannot be true

A reading that cannot be true counts as one that cannot be had, and the reason stands in its place:

- a value that is negative, infinite or not a number, and a kernel average above 100%;
- pressure that grew by more than the time between two readings. The window begins with that reading;
- a count or a stall that runs backwards. The cgroup was made again, or the reading is wrong: the window begins with the next reading;
- a count that grew by more than 1,000,000,000 in a second;
- all that depends on limits, if a limit cannot be read or its memory.current is more than the host's memory.

After a suspend of more than a minute, or when the clock runs backwards, all windows and all ` + "`for`" + ` begin from that moment; the tier stays.

Usage above 100% is a reading like any other: memory.high can be exceeded, and memory.max can be lowered below what is used, when the
kernel first reclaims memory and then kills. A limit of 0 is left out and reported: not even the current worker fits under it, so ending
others would not help.

## What is not worth it

Memory can be short because of other programs. Cutting HAProxy's connections then costs clients and frees next to nothing. So ` + "`hard-stop-after`" + ` and
` + "`terminate-oldest`" + ` are withheld if all stopping workers together hold less than ` + "`worth`" + ` of the limit that is short, 5% if it is left out. The tier is entered all the
same, milder actions are done, and ` + "`hapressure status`" + ` and one journal entry say what is withheld and why.

- The limit that is short is the one that a true condition of the tier's ` + "`enter`" + ` was measured against: for usage, the limit that is used most; for
  reload-room and limit-in, the one with the least headroom; for events, swap and shmem, the target's own memory. policy.Pressure does not say which limit
  causes it: it counts as that of usage. If several conditions are true, one limit that is worth it is enough. If none is, because the tier is only
  held, the conditions of ` + "`leave`" + ` that are not true count.
- If that limit is the target's own, or the target holds at least half of what is used of it, any known gain is enough: the kernel would kill there next, and
  HAProxy itself.
- A stopping worker holds its private memory, in RAM or in swap, its TLS session cache, and the shared memory that its page tables show.
- A worker of which that is not known adds nothing, and is not cut itself; without any known gain no connection is cut. ` + "`worth: 0%`" + ` turns all of this off.
- A tier with ` + "`enter: always`" + ` bounds the age of workers, not memory: there ` + "`worth`" + ` means nothing.

## Hooks

A tier may have a command that is run when it is entered and when it is left: [hooks.md](hooks.md). Whoever may write the policy may so run
commands as root.
`

// reference writes docs/policy-reference.md.
func reference() string {
	var s strings.Builder
	s.WriteString(introduction)
	for i := range language.Forms {
		f := &language.Forms[i]
		fmt.Fprintf(&s, "\n## %s\n\n", f.Name)
		if f.Doc != "" {
			fmt.Fprintf(&s, "%s\n\n", f.Doc)
		}
		s.WriteString("| key | value | left out | |\n|---|---|---|---|\n")
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
		return "needed"
	case k.Default != "":
		return "`" + k.Default + "`"
	}
	return ""
}

// object is a JSON object. encoding/json writes its keys in alphabetical order.
type object = map[string]any

// schema writes the JSON Schema (draft 2020-12) of the language. What it cannot say, as what is between values, is left to Decode.
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
