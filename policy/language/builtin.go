package language

import _ "embed"

//go:embed default.yaml
var defaultYAML []byte

// BuiltIn is the policy that runs without a file, with a reason beside every number. Packages ship it as well.
var BuiltIn = File{"built-in", defaultYAML}

// Schema is the JSON Schema (draft 2020-12) of a policy file, for editors. It is written by go test -update from the same table that
// decoding works with, and can say less: nothing between two values, or two files.
//
//go:embed schema.json
var Schema []byte
