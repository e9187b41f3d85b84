package language

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"hapressure/tests/golden"
	"hapressure/tests/schematest"
)

// Each kind of action has words for explain.
func TestActionsAreExplained(t *testing.T) {
	for _, k := range language.Form("action").Keys {
		if does[k.Name] == "" {
			t.Errorf("%s is not explained", k.Name)
		}
	}
}

func TestNewKeysHaveAVersion(t *testing.T) {
	schematest.Versions(t, language, "testdata/first-keys.txt", "../../CHANGELOG.md")
}

func TestSchemaIsCurrent(t *testing.T) {
	golden.Check(t, "schema.json", schematest.JSON(language, "A policy of hapressure"))
}

func TestReferenceIsCurrent(t *testing.T) {
	introduction, err := os.ReadFile("testdata/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "../../docs/policy-reference.md",
		schematest.Reference(language, string(introduction)))
}

// beyondSchema are the bad samples that the schema lets pass: it sees what YAML makes of
// a value, one file and one value at a time.
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

// TestSchemaAndSamples asserts that the schema and Decode agree on each sample.
func TestSchemaAndSamples(t *testing.T) {
	one := schematest.Passes(t, Schema)
	passes := func(files []File) bool {
		for _, f := range files {
			if !one(f.Text) {
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
