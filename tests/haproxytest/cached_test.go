package haproxytest

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// greeting is a cached directory that is usable if its file greets; built counts its
// builds.
func greeting(t *testing.T, built *atomic.Int32) cached {
	return cached{
		dir: filepath.Join(t.TempDir(), "cache", "greeting"),
		build: func(dir string) error {
			built.Add(1)
			return os.WriteFile(filepath.Join(dir, "greeting"), []byte("hello"), 0o644)
		},
		check: func(dir string) error {
			if b, err := os.ReadFile(filepath.Join(dir, "greeting")); err != nil ||
				string(b) != "hello" {
				return errors.New("it does not greet")
			}
			return nil
		},
	}
}

func wantUsable(t *testing.T, c cached) {
	t.Helper()
	if err := c.ensure(); err != nil {
		t.Fatal(err)
	}
	if err := c.check(c.dir); err != nil {
		t.Fatal(err)
	}
}

func TestCachedIsBuiltOnceForAll(t *testing.T) {
	var built atomic.Int32
	c := greeting(t, &built)
	var all sync.WaitGroup
	// a lock is of an open file, so it is between goroutines what it is between
	// processes
	for range 8 {
		all.Go(func() {
			if err := c.ensure(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	wantUsable(t, c)
	if n := built.Load(); n != 1 {
		t.Errorf("it was built %d times", n)
	}
}

func TestBrokenCachedIsBuiltAgain(t *testing.T) {
	var built atomic.Int32
	c := greeting(t, &built)
	wantUsable(t, c)
	if err := os.Truncate(filepath.Join(c.dir, "greeting"), 0); err != nil {
		t.Fatal(err)
	}
	wantUsable(t, c)
	if n := built.Load(); n != 2 {
		t.Errorf("it was built %d times, want twice", n)
	}
}

func TestUnusableBuildIsNotCached(t *testing.T) {
	var built atomic.Int32
	c := greeting(t, &built)
	good := c.build
	c.build = func(string) error { return nil }
	if err := c.ensure(); err == nil {
		t.Error("a directory that fails its check is no error")
	}
	c.build = good
	wantUsable(t, c)
}

func TestLeftoversOfAKilledBuildAreRemoved(t *testing.T) {
	var built atomic.Int32
	c := greeting(t, &built)
	if err := os.MkdirAll(filepath.Join(c.dir+".building", "half"), 0o755); err != nil {
		t.Fatal(err)
	}
	wantUsable(t, c)
	if _, err := os.Stat(filepath.Join(c.dir, "half")); err == nil {
		t.Error("it holds what a killed process left")
	}
}
