package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"hapressure/tests/golden"
)

// jsonOf names the type of which each command with --json prints a value. [] before the
// name is a list of them. events prints the fields of the journal, which docs/logging.md
// describes.
var jsonOf = map[string]string{
	"hapressure doctor": "Findings", "hapressure events": "", "hapressure make-room": "Room",
	"hapressure mode": "Steering", "hapressure pause": "Steering", "hapressure resume": "Steering",
	"hapressure policy check": "[]Error", "hapressure policy test": "[]Report",
	"hapressure purge":  "Purges",
	"hapressure replay": "Document", "hapressure status": "Status",
	"hapressure version": "Version", "hapressure workers": "Workers",
}

// jsonFiles declare these types.
var jsonFiles = []string{
	"controller/status/*.go", "cmd/hapressure/internal/doctor/*.go", "policy/schema/mistakes.go",
	"policy/trial/check.go", "cmd/hapressure/internal/trials/trials.go",
	"policy/replay/json.go", "cmd/hapressure/version.go",
}

// TestJSONDocsAreCurrent makes docs/status.md and docs/json.md of the types with -update,
// and otherwise compares them. Each command with --json must be in jsonOf, and each field
// must have a comment.
func TestJSONDocsAreCurrent(t *testing.T) {
	d := jsonDoc{t: t, types: structs(t), described: map[string]string{}}
	d.text(`# What hapressure status --json prints

This page describes the fields of the JSON. The control socket answers it to GET /v1/status.
Fields may be added; none is removed or changes its meaning within a major version.
A *reading* is a number, or text with the reason why there is none.
The page is made of the types of controller/status.
`)
	d.table("Status", "")
	golden.Check(t, "../../docs/status.md", d.take())
	d.text(`# What the other commands print with --json

This page describes the JSON of each command. [Status](status.md) has a page of its own.
Fields may be added; none is removed or changes its meaning within a major version.
Names are in snake_case. Those of numbers with a unit end with it: _bytes, _seconds, _microseconds,
_percent.
The page is made of the types in Go.
`)
	for _, cmd := range commandsWithJSON(rootCommand()) {
		name, known := jsonOf[cmd.CommandPath()]
		if !known {
			t.Errorf("%s has --json: add the type that it prints to jsonOf", cmd.CommandPath())
		}
		if name == "Status" {
			continue
		}
		d.text(fmt.Sprintf("\n## %s\n", cmd.CommandPath()))
		switch of, list := strings.CutPrefix(name, "[]"); {
		case name == "":
			d.text("\nOne object a line, for each entry of the journal: " +
				"[logging](logging.md#fields).\n")
		case list:
			d.text("\nA list of objects with these fields.\n")
			d.table(of, "[].")
		default:
			d.table(of, "")
		}
	}
	golden.Check(t, "../../docs/json.md", d.take())
}

// commandsWithJSON returns the commands that have --json, in the order of help.
func commandsWithJSON(cmd *cobra.Command) (found []*cobra.Command) {
	if cmd.Flags().Lookup("json") != nil {
		found = append(found, cmd)
	}
	for _, sub := range cmd.Commands() {
		found = append(found, commandsWithJSON(sub)...)
	}
	return found
}

// structs returns the structs of jsonFiles by their names.
func structs(t *testing.T) map[string]*ast.StructType {
	t.Helper()
	types := map[string]*ast.StructType{}
	for _, pattern := range jsonFiles {
		names, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for node := range ast.Preorder(file) {
				spec, ok := node.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if s, ok := spec.Type.(*ast.StructType); ok {
					types[spec.Name.Name] = s
				}
			}
		}
	}
	return types
}

// jsonDoc writes pages with a row for each field.
type jsonDoc struct {
	strings.Builder
	t         *testing.T
	types     map[string]*ast.StructType
	described map[string]string // path of each type of the page before, by its name
	paths     map[string]string // of each type of this page
}

func (d *jsonDoc) text(text string) { d.WriteString(text) }

// take returns the page, and begins another one, which refers to its types.
func (d *jsonDoc) take() string {
	text := d.String()
	d.Reset()
	for name, path := range d.paths {
		d.described[name] = path
	}
	return text
}

func (d *jsonDoc) table(name, path string) {
	d.text("\n| field | value | meaning |\n|---|---|---|\n")
	d.paths = map[string]string{}
	d.rows(path, name)
}

// valueNames has the names of Go types in JSON.
var valueNames = map[string]string{
	"int": "number", "uint64": "number", "int64": "number", "float64": "number",
	"string": "text", "bool": "true or false", "time.Time": "time, RFC 3339",
	"policy.Reading": "reading", "policy.Result": "text", "policy.Mode": "text",
}

var snakeCase = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// rows writes the fields of a struct, with path before their names.
func (d *jsonDoc) rows(path, name string) {
	if d.types[name] == nil {
		d.t.Fatalf("jsonFiles do not declare the struct %s", name)
	}
	for _, f := range d.types[name].Fields.List {
		if f.Tag == nil { // not in JSON
			continue
		}
		tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json")
		if tag == "-" {
			continue
		}
		key, omitted, _ := strings.Cut(tag, ",")
		means := strings.ReplaceAll(strings.TrimSpace(f.Doc.Text()+f.Comment.Text()), "\n", " ")
		if means == "" {
			d.t.Errorf("%s%s has no comment", path, key)
		}
		if !snakeCase.MatchString(key) {
			d.t.Errorf("%s%s is not in snake_case", path, key)
		}
		kind, null := typeName(f.Type)
		if kind == "schema.Errors" {
			kind = "[]Error"
		}
		inner := strings.TrimPrefix(kind, "[]")
		at, value := path+key, d.value(kind)
		if value == "list" {
			at += "[]"
		}
		if value == "" {
			d.t.Errorf("%s is of type %s, which has no name in valueNames", at, kind)
		}
		switch {
		case omitted != "":
			value += ", or left out"
		case null:
			value += ", or null"
		}
		as := d.described[inner]
		if as != "" {
			means += ": as `" + as + "` of [status](status.md)"
		}
		fmt.Fprintf(d, "| `%s` | %s | %s |\n", at, value, strings.ReplaceAll(means, "|", `\|`))
		if d.types[inner] != nil && as == "" {
			if d.paths[inner] == "" {
				d.paths[inner] = at
			}
			d.rows(at+".", inner)
		}
	}
}

// value describes the JSON of a Go type, "" if it is not known.
func (d *jsonDoc) value(kind string) string {
	of, list := strings.CutPrefix(kind, "[]")
	of, isMap := strings.CutPrefix(of, "map:")
	name := valueNames[of]
	switch {
	case d.types[of] != nil && list:
		return "list"
	case d.types[of] != nil:
		return "object"
	case name == "":
		return ""
	case list:
		return "list of " + name
	case isMap:
		return "object of " + name
	}
	return name
}

func typeName(e ast.Expr) (name string, null bool) {
	switch e := e.(type) {
	case *ast.StarExpr:
		name, _ = typeName(e.X)
		return name, true
	case *ast.ArrayType:
		name, _ = typeName(e.Elt)
		return "[]" + name, false
	case *ast.MapType:
		name, _ = typeName(e.Value)
		return "map:" + name, false
	case *ast.SelectorExpr:
		name = e.X.(*ast.Ident).Name + "." + e.Sel.Name
		return strings.TrimPrefix(strings.TrimPrefix(name, "status."), "trial."), false
	}
	return e.(*ast.Ident).Name, false
}
