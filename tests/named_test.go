package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameRealTests: a claim that names a test which is no more is no claim.
func TestDocsNameRealTests(t *testing.T) {
	var sources strings.Builder
	for _, pattern := range []string{"../*/*_test.go", "../*/*/*_test.go", "../*/*/*/*_test.go",
		"../*/*/*/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(b)
		}
	}
	docs, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, doc := range docs {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`((Test|Fuzz)[A-Z]\\w*)`").FindAllSubmatch(b, -1) {
			named++
			if !strings.Contains(sources.String(), "func "+string(m[1])+"(") {
				t.Errorf("%s names %s, which there is not", doc, m[1])
			}
		}
	}
	if named < 50 {
		t.Errorf("%d tests are named", named)
	}
}
