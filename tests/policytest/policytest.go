// Package policytest gives tests their policies.
package policytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hapressure/policy"
	"hapressure/policy/language"
)

// Decode decodes a policy that a test has written.
func Decode(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := language.Decode(language.File{Name: "test.yaml", Text: []byte(text)})
	if err != nil {
		t.Fatalf("decoding:\n%s\n%v", text, err)
	}
	return p
}

// BuiltIn decodes the built-in policy.
func BuiltIn(t testing.TB) *policy.Policy {
	t.Helper()
	return Decode(t, string(language.BuiltIn.Text))
}

// Ready returns the files of packaging/policies by their names without .yaml.
func Ready(t testing.TB) map[string]language.File {
	t.Helper()
	root := "."
	for _, err := os.Stat(root + "/go.mod"); err != nil; _, err = os.Stat(root + "/go.mod") {
		if root += "/.."; len(root) > 100 {
			t.Fatal("no go.mod above this folder")
		}
	}
	paths, err := filepath.Glob(filepath.Join(root, "packaging/policies/*.yaml"))
	if err != nil || len(paths) < 6 {
		t.Fatalf("only %d policies: %v", len(paths), err)
	}
	found := map[string]language.File{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(filepath.Base(path),
			".yaml")] = language.File{Name: filepath.Base(path), Text: text}
	}
	return found
}
