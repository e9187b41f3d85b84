package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"hapressure/tests/golden"
)

const statusDoc = "../../docs/status.md"

// TestStatusDocIsCurrent makes docs/status.md of the types with -update, and otherwise
// compares it. Each field must have a comment.
func TestStatusDocIsCurrent(t *testing.T) {
	types := map[string]*ast.StructType{}
	for _, name := range []string{"controller/status/status.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", name), nil,
			parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for node := range ast.Preorder(file) {
			if spec, ok := node.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					types[spec.Name.Name] = s
				}
			}
		}
	}
	var b strings.Builder
	b.WriteString(`# What hapressure status --json prints

This page describes the fields of the JSON. The control socket answers it to GET /v1/status.
Fields may be added; none is removed or changes its meaning within a major version.
A *reading* is a number, or text with the reason why there is none.
The page is made of the types of controller/status.

| field | value | meaning |
|---|---|---|
`)
	describe(t, &b, types, "", "Status")
	golden.Check(t, statusDoc, b.String())
}

// values has the names of Go types in JSON.
var values = map[string]string{"int": "number", "uint64": "number", "int64": "number",
	"float64": "number", "string": "text", "bool": "true or false",
	"time.Time": "time, RFC 3339", "policy.Reading": "reading", "policy.Result": "text"}

func describe(t *testing.T, b *strings.Builder, types map[string]*ast.StructType, path,
	name string) {
	for _, f := range types[name].Fields.List {
		if f.Tag == nil { // not in JSON
			continue
		}
		tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json")
		key, omitted, _ := strings.Cut(tag, ",")
		means := strings.ReplaceAll(strings.TrimSpace(f.Doc.Text()+f.Comment.Text()), "\n", " ")
		if means == "" {
			t.Errorf("%s%s has no comment", path, key)
		}
		kind, null := typeName(f.Type)
		at := path + key
		var value string
		switch kind, list := strings.CutPrefix(kind, "[]"); {
		case types[kind] != nil && list:
			value, at = "list", at+"[]"
		case types[kind] != nil:
			value = "object"
		case list:
			value = "list of " + values[kind]
			if values[kind] == "" {
				t.Errorf("%s is of type %s, which has no name in values", at, kind)
			}
		default:
			of, isMap := strings.CutPrefix(kind, "map:")
			value = values[of]
			if isMap {
				value = "object of " + value
			}
			if values[of] == "" {
				t.Errorf("%s is of type %s, which has no name in values", at, kind)
			}
		}
		if null {
			value += ", or null"
		}
		if omitted != "" {
			value += ", or left out"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", at, value, strings.ReplaceAll(means, "|", `\|`))
		if inner := strings.TrimPrefix(kind, "[]"); types[inner] != nil {
			describe(t, b, types, at+".", inner)
		}
	}
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
		return e.X.(*ast.Ident).Name + "." + e.Sel.Name, false
	}
	return e.(*ast.Ident).Name, false
}
