package policy

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is generated and what the samples lead to")

// samples returns the policies in testdata/good or testdata/bad by name; a folder is a policy of several files, in their order.
func samples(t testing.TB, kind string) map[string][]File {
	t.Helper()
	found := map[string][]File{}
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		paths, err := filepath.Glob(filepath.Join("testdata", kind, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(path, ".yaml")
			if pattern == "*/*.yaml" {
				name = filepath.Dir(path)
			}
			found[name] = append(found[name], File{filepath.Base(path), text})
		}
	}
	if len(found) == 0 {
		t.Fatalf("no samples in testdata/%s", kind)
	}
	return found
}

// golden compares what came out with a file, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not current (go test -update writes it)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// TestBadSamples holds every message. A sample's mistakes are all in its .want file, in order.
func TestBadSamples(t *testing.T) {
	for name, files := range samples(t, "bad") {
		p, err := DecodeFiles(files...)
		if err == nil {
			t.Errorf("%s decoded to %+v", name, p)
			continue
		}
		golden(t, name+".want", err.Error()+"\n")
		var all Errors
		if !errors.As(err, &all) {
			t.Errorf("%s: %T is not Errors", name, err)
		}
	}
}

func TestGoodSamples(t *testing.T) {
	for name, files := range samples(t, "good") {
		p, err := DecodeFiles(files...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkSound(t, p)
	}
}
