package policyfiles

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hapressure/controller"
	"hapressure/policy"
	"hapressure/systemd"
	"hapressure/tests/haproxytest"
)

// follower is a Follower at work, the policies that it put in force, and its entries.
type follower struct {
	t      *testing.T
	file   string
	hup    chan os.Signal
	set    chan *policy.Policy
	logged chan systemd.Entry
	ask    func(context.Context) error
}

func (f *follower) SetPolicy(p *policy.Policy, _ string) { f.set <- p }

func (f *follower) KeepPolicy(error) {}

func (f *follower) Send(e systemd.Entry) error { f.logged <- e; return nil }

func policyText(tier string) string {
	return fmt.Sprintf("version: 1\ntiers:\n  - {name: %s, enter: always, actions: []}\n", tier)
}

// follow begins to follow a file that holds the tier "first".
func follow(t *testing.T, file string) *follower {
	t.Helper()
	return followEvery(t, file, tryAgain)
}

// followEvery is follow, and reads files with mistakes again after an interval.
func followEvery(t *testing.T, file string, again time.Duration) *follower {
	t.Helper()
	f := &follower{t, file, make(chan os.Signal), make(chan *policy.Policy, 16),
		make(chan systemd.Entry, 16), nil}
	r := NewFollower([]string{file}, "", f)
	r.tryAgain = again
	f.ask = r.Reload
	if _, err := r.load(); err != nil {
		t.Fatal(err)
	}
	go r.Follow(t.Context(), f, f.hup)
	f.settled()
	return f
}

// settled waits until the follower listens for signals, and so watches its folders.
func (f *follower) settled() {
	f.t.Helper()
	f.hup <- syscall.SIGHUP
	f.want("first")
}

func (f *follower) replace(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.file+".new", []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(f.file+".new", f.file); err != nil {
		f.t.Fatal(err)
	}
}

// want waits for a policy with this tier, and for the entry for it.
func (f *follower) want(tier string) {
	f.t.Helper()
	if e := f.entry(); e.MessageID != controller.PolicyLoaded.ID() {
		f.t.Fatalf("logged %q", e.Message)
	}
	if p := <-f.set; p.Tiers[0].Name != tier {
		f.t.Fatalf("tier %s, want %s", p.Tiers[0].Name, tier)
	}
}

func (f *follower) entry() systemd.Entry {
	f.t.Helper()
	select {
	case e := <-f.logged:
		return e
	case <-time.After(tryAgain + haproxytest.Deadline):
		f.t.Fatal("no entry was logged")
	}
	panic("not reached")
}

func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(policyText("first")), 0o644); err != nil {
		t.Fatal(err)
	}
	f := follow(t, file)
	f.replace(policyText("second"))
	f.want("second")
	f.replace("version: 1\ntears: []\n")
	if e := f.entry(); e.MessageID != controller.PolicyRejected.ID() ||
		!strings.Contains(e.Message, "policy.yaml:2:1: ") {
		t.Errorf("logged %q", e.Message)
	}
	if err := f.ask(t.Context()); err == nil || !strings.Contains(err.Error(),
		"policy.yaml:2:1: ") {
		t.Errorf("asked to reload what has mistakes: %v", err)
	}
	f.entry()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if e := f.entry(); e.MessageID != controller.PolicyRejected.ID() ||
		!strings.Contains(e.Message, "no such file") {
		t.Errorf("logged %q", e.Message)
	}
	if len(f.set) != 0 {
		t.Error("a bad policy was put in force")
	}
	f.replace(policyText("third"))
	f.want("third")
	if err := f.ask(t.Context()); err != nil {
		t.Error(err)
	}
	f.want("third")
	f.hup <- syscall.SIGHUP // nothing has changed, but it was asked for
	f.want("third")
}

// What was wrong may be mended where no change is seen: here behind a link to a folder
// that is not watched.
func TestRejectedPolicyIsReadAgain(t *testing.T) {
	elsewhere, file := filepath.Join(t.TempDir(), "policy.yaml"),
		filepath.Join(t.TempDir(), "policy.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(elsewhere, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(policyText("first"))
	if err := os.Symlink(elsewhere, file); err != nil {
		t.Fatal(err)
	}
	f := followEvery(t, file, 100*time.Millisecond)
	write("version: 1\ntears: []\n")
	f.hup <- syscall.SIGHUP
	if e := f.entry(); e.MessageID != controller.PolicyRejected.ID() {
		t.Fatalf("logged %q", e.Message)
	}
	write(policyText("second"))
	f.want("second")
}

// More changes than the kernel keeps are no reason to miss those that come later.
func TestReloadAfterTooManyChanges(t *testing.T) {
	most, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	n, nerr := strconv.Atoi(strings.TrimSpace(string(most)))
	if err != nil || nerr != nil {
		t.Skip(err, nerr)
	}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(policyText("first")), 0o644); err != nil {
		t.Fatal(err)
	}
	f := follow(t, file)
	for range cap(f.logged) + 1 { // the follower waits with the last of them
		f.hup <- syscall.SIGHUP
	}
	for range n {
		if err := errors.Join(os.WriteFile(file+".other", nil, 0o644),
			os.Remove(file+".other")); err != nil {
			t.Fatal(err)
		}
	}
	for range cap(f.logged) + 1 {
		f.want("first")
	}
	f.replace(policyText("second"))
	f.want("second") // by one of the changes that were kept
	f.replace(policyText("third"))
	f.want("third")
}

// Kubernetes makes a new folder and renames a link to it.
func TestReloadOfAConfigMap(t *testing.T) {
	dir := t.TempDir()
	generation := func(name, tier string) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "policy.yaml"), []byte(policyText(tier)),
			0o644); err != nil {
			t.Fatal(err)
		}
		tmp := filepath.Join(dir, "..tmp")
		if err := os.Symlink(name, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	generation("..1", "first")
	file := filepath.Join(dir, "policy.yaml")
	if err := os.Symlink("..data/policy.yaml", file); err != nil {
		t.Fatal(err)
	}
	f := follow(t, file)
	generation("..2", "second")
	f.want("second")
}
