package main

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		rules            string // of the findings, in order
	}{
		{"code as wide as it may be", "a/b.go", strings.Repeat("x", 100) + "\n", ""},
		{"code that is too wide", "a/b.go", strings.Repeat("x", 101) + "\n", "width"},
		{"a tab is four columns", "a/b.go", "\t" + strings.Repeat("x", 97) + "\n", "width"},
		{"a comment is narrower", "a/b.go", "// " + strings.Repeat("x", 88) + "\n", "width"},
		{"a shell comment", "a.sh", "# " + strings.Repeat("x", 89) + "\n", "width"},
		{"Markdown has no width", "a.md", strings.Repeat("x ", 99) + "\n", ""},
		{"a word in a comment", "a.go", "package a\n\n// Whoever calls is told.\n", "word word"},
		{"a word in a message", "a.go", "package a\n\nvar x = \"begin anew\"\n", "word"},
		{"an identifier is no prose", "a.go", "package a\n\nvar told = 1\n", ""},
		{"the account nobody", "a.sh", "runuser --user nobody -- id\n", ""},
		{"a fixture", "a/testdata/b.go", "// " + strings.Repeat("x", 99) + " told\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rules []string
			for _, f := range check(c.file, []byte(c.text)) {
				rules = append(rules, f.rule)
			}
			if got := strings.Join(rules, " "); got != c.rules {
				t.Errorf("findings %q, want %q", got, c.rules)
			}
		})
	}
}

func TestCheckSubject(t *testing.T) {
	for subject, ok := range map[string]bool{
		"tests: move what needs a guest into tests/e2e":       true,
		"haproxy/shctx: recognise caches":                     true,
		"cmd, docs: name a flag":                              true,
		"Add a thing":                                         false,
		"tests:no space":                                      false,
		"tests: " + strings.Repeat("x", subjectWidth-7):       true,
		"tests: " + strings.Repeat("x", subjectWidth-7) + "y": false,
	} {
		if why := checkSubject(subject); (why == "") != ok {
			t.Errorf("%q: %q", subject, why)
		}
	}
}
