// Package language makes policies of YAML files.
//
// language.yaml defines the language. Decode reads files strictly by that definition: an
// unknown key, a missing unit or conditions that contradict each other are errors, each
// with file, line and column. The JSON Schema, the reference and the text of
// Policy.Source are made of the same definition.
package language

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"hapressure/policy/schema"
)

// File is one policy file. Error is one mistake in it, and Errors holds all mistakes, in
// the order of the files and their lines.
type (
	File   = schema.File
	Error  = schema.Error
	Errors = schema.Errors
)

//go:embed language.yaml
var languageYAML []byte

var language = schema.MustParse(languageYAML)

// decoder decodes the files of one policy.
type decoder struct{ *schema.Decoder }

func newDecoder() decoder {
	return decoder{language.Decoder(schema.Rules{BadName: badName, ID: id})}
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

// id returns what must be unique in a list, "" if nothing must be.
func id(v *schema.Value) string {
	switch v.Of {
	case "tier":
		return v.Get("name").Word()
	case "target":
		if group := v.Get("cgroup").Word(); group != "" {
			return path.Clean("/" + group)
		}
		return v.Get("unit").Word()
	case "action":
		return v.One()
	}
	return ""
}
