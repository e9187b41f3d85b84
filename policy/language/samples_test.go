package language

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"hapressure/tests/golden"

	"hapressure/policy"
)

// samples returns the policies in testdata/good or testdata/bad by name; a folder is a
// policy of several files, in their order.
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
			found[name] = append(found[name], File{Name: filepath.Base(path), Text: text})
		}
	}
	if len(found) == 0 {
		t.Fatalf("no samples in testdata/%s", kind)
	}
	return found
}

// TestBadSamples asserts every message. A sample's mistakes are all in its .want file, in
// order.
func TestBadSamples(t *testing.T) {
	for name, files := range samples(t, "bad") {
		p, err := Decode(files...)
		if err == nil {
			t.Errorf("%s decoded to %+v", name, p)
			continue
		}
		golden.Check(t, name+".want", err.Error()+"\n")
		var all Errors
		if !errors.As(err, &all) {
			t.Errorf("%s: %T is not Errors", name, err)
		}
	}
}

// readyPolicies are those of packaging/policies.
func readyPolicies(t testing.TB) map[string][]File {
	t.Helper()
	paths, err := filepath.Glob("../../packaging/policies/*.yaml")
	if err != nil || len(paths) < 6 {
		t.Fatalf("only %d policies: %v", len(paths), err)
	}
	found := map[string][]File{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(filepath.Base(path), ".yaml")] = []File{{Name: filepath.Base(path), Text: text}}
	}
	return found
}

// TestReadyPolicies asserts in words what each of them does.
func TestReadyPolicies(t *testing.T) {
	for name, files := range readyPolicies(t) {
		p, err := Decode(files...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkSound(t, p)
		for _, tier := range p.Tiers {
			for _, a := range tier.Actions {
				if a.Kind == policy.TrimPools { // it can stall a worker: only a site that knows its workers can ask for it
					t.Errorf("%s: tier %s trims pools", name, tier.Name)
				}
			}
		}
		golden.Check(t, filepath.Join("testdata", "explain", name+".txt"), Explain(p))
		if same := reflect.DeepEqual(unplaced(p), unplaced(builtIn())); same != (name == "default") {
			t.Errorf("%s is the built-in policy: %v", name, same)
		}
	}
}

// TestShow asserts that what is shown comes to the same policy, is complete, and has the
// origin of each value.
func TestShow(t *testing.T) {
	all := samples(t, "good")
	maps.Copy(all, readyPolicies(t))
	for name, files := range all {
		p, err := Decode(files...)
		if err != nil {
			t.Fatal(err)
		}
		text := p.Source
		again, err := Decode(File{Name: "shown", Text: []byte(text)})
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		if !reflect.DeepEqual(unplaced(again), unplaced(p)) {
			t.Errorf("%s: shown\n%s", name, text)
		}
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			if text, _, placed := strings.Cut(line, " # "); placed == strings.HasSuffix(text, ":") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
	p, err := Decode(all["testdata/good/drop-ins"]...)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/show.txt", p.Source)
}

func TestExplainTargets(t *testing.T) {
	p, err := Decode(samples(t, "good")["testdata/good/target-of-its-own"]...)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/explain/target-of-its-own.txt", Explain(p))
	p, err = Decode(samples(t, "good")["testdata/good/only"]...)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/explain/only.txt", Explain(p))
	p, err = Decode(samples(t, "good")["testdata/good/hook"]...)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/explain/hook.txt", Explain(p))
	p, err = Decode(samples(t, "good")["testdata/good/order"]...)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/explain/order.txt", Explain(p))
	p, err = Decode(samples(t, "good")["testdata/good/make-room"]...)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/explain/make-room.txt", Explain(p))
	for name, drain := range map[string]bool{
		"haproxy.service": true, "haproxy@mail.service": false, "haproxy@own.service": true,
	} {
		if p.For(name).MakeRoom.Drain != drain {
			t.Errorf("make-room of %s: drain is %v", name, !drain)
		}
	}
}

func TestGoodSamples(t *testing.T) {
	for name, files := range samples(t, "good") {
		p, err := Decode(files...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkSound(t, p)
	}
}
