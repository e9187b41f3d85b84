package language

import _ "embed"

//go:embed default.yaml
var defaultYAML []byte

// BuiltIn is the policy that is in force without a file. It has a reason beside every
// number.
var BuiltIn = File{Name: "built-in", Text: defaultYAML}

// Schema is the JSON Schema (draft 2020-12) of a policy file, for editors. go test
// -update generates it from language.yaml. It cannot express rules between two values or
// two files.
//
//go:embed schema.json
var Schema []byte
