package policyfiles

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hapressure/controller"
	"hapressure/policy"
	"hapressure/systemd"
	"hapressure/tests/golden"
	"hapressure/tests/haproxytest"
)

func TestLastPolicyTags(t *testing.T) { golden.Tags(t, lastPolicy{}) }

// A start with mistakes in the policy begins with the policy that was last in force, if
// it is of the same files and if other users could not write it.
func TestStartWithMistakes(t *testing.T) {
	dir := t.TempDir()
	file, kept := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "state", "policy-in-force")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	begin := func(names ...string) (tier, from string, mistakes error) {
		f := &follower{t: t, logged: make(chan systemd.Entry, 16)}
		r := NewFollower(names, kept, f)
		p, from, mistakes := r.Begin()
		if len(r.keeping) > 0 {
			if err := r.write(<-r.keeping); err != nil {
				t.Error(err)
			}
		}
		if p != nil {
			tier = p.Tiers[0].Name
		}
		if n := len(f.logged); n != 0 != (mistakes != nil) {
			t.Errorf("%v, and %d entries were logged", mistakes, n)
		}
		return tier, from, mistakes
	}
	wants := func(what, tier string, got string, mistakes error, bad bool) {
		t.Helper()
		if got != tier || (mistakes != nil) != bad {
			t.Errorf("%s: tier %q, %v; want %q", what, got, mistakes, tier)
		}
	}
	write(file, "tears")
	tier, _, mistakes := begin(file)
	wants("nothing was ever in force", "", tier, mistakes, true)
	write(file, policyText("good"))
	tier, _, mistakes = begin(file)
	wants("a good policy", "good", tier, mistakes, false)
	write(file, "tears")
	tier, from, mistakes := begin(file)
	wants("mistakes", "good", tier, mistakes, true)
	if from != "the policy "+file+", as it was last in force" ||
		!strings.Contains(mistakes.Error(), file+":1:1: ") {
		t.Errorf("it is of %q, %v", from, mistakes)
	}
	other := filepath.Join(dir, "other.yaml")
	write(other, "tears")
	tier, _, mistakes = begin(other)
	wants("mistakes in another file", "", tier, mistakes, true)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	tier, _, mistakes = begin(file)
	wants("the file is gone", "good", tier, mistakes, true)
	write(file, policyText("better"))
	tier, _, mistakes = begin(file)
	wants("a better policy", "better", tier, mistakes, false)
	write(file, "tears")
	tier, _, mistakes = begin(file)
	wants("mistakes after a better policy", "better", tier, mistakes, true)
	if err := os.Chmod(kept, 0o666); err != nil {
		t.Fatal(err)
	}
	tier, _, mistakes = begin(file)
	wants("other users can write the persisted policy", "", tier, mistakes, true)
	if err := os.Chmod(kept, 0o600); err != nil {
		t.Fatal(err)
	}
	write(kept, "{")
	tier, _, mistakes = begin(file)
	wants("the persisted policy is cut off", "", tier, mistakes, true)
}

// A policy that a reload puts in force is persisted. A failure is logged, and writing is
// retried.
func TestReloadIsKept(t *testing.T) {
	dir := t.TempDir()
	file, kept := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "state", "policy",
		"in-force")
	if err := os.WriteFile(file, []byte(policyText("first")), 0o644); err != nil {
		t.Fatal(err)
	}
	// no folder can be made there
	if err := os.WriteFile(filepath.Dir(filepath.Dir(kept)), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f := &follower{t: t, set: make(chan *policy.Policy, 16), logged: make(chan systemd.Entry, 16)}
	r := NewFollower([]string{file}, kept, f)
	r.to = f
	go r.KeepLast(t.Context())
	if _, _, err := r.Begin(); err != nil {
		t.Fatal(err)
	}
	if e := f.entry(); e.MessageID != controller.StorageFailed.ID() ||
		!strings.Contains(e.Message, "not a directory") {
		t.Errorf("logged %q", e.Message)
	}
	if err := os.Remove(filepath.Dir(filepath.Dir(kept))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(policyText("second")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.reloadIfChanged(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(haproxytest.Deadline); ; time.Sleep(10 * time.Millisecond) {
		if p, _, err := r.last(); err == nil && p.Tiers[0].Name == "second" {
			return
		} else if time.Now().After(end) {
			t.Fatalf("kept: %+v, %v", p, err)
		}
	}
}
