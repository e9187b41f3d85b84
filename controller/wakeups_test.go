package controller

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hapressure/cgroup"
	"hapressure/tests/cgrouptest"
)

// A guard that an event of the kernel cannot wake is blind to it. A probe reads pressure, and a group
// without events has none that could be missed.
func TestGuardIsBlindToEventsThatCannotWakeIt(t *testing.T) {
	const loop = "a link to itself"
	for _, c := range []struct {
		file, is string
		blind    bool
	}{{"memory.pressure", cgrouptest.Absent, false}, {"memory.events", cgrouptest.Absent, false}, {"memory.events", loop, true}} {
		tree := cgrouptest.New(t)
		tree.Group(group, map[string]string{c.file: cgrouptest.Absent})
		if c.is == loop {
			if err := os.Symlink(c.file, filepath.Join(tree.Mount, group, c.file)); err != nil {
				t.Fatal(err)
			}
		}
		gr, err := cgroup.Open(tree.Mount, group)
		if err != nil {
			t.Fatal(err)
		}
		defer gr.Close()
		j := newRecorder()
		w := &wakeups{target: target{group: gr}, events: Events{j}, woken: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.watch(ctx) })
		j.wait(t, "the missing wake-up", 1, kind(SensorMissing))
		cancel()
		wg.Wait()
		if w.blind.Load() != c.blind {
			t.Errorf("%s is %q: blind %v", c.file, c.is, !c.blind)
		}
	}
}

// A file that cannot be watched is watched as soon as that is possible.
func TestGuardSeesAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("waits half a minute")
	}
	tree := cgrouptest.New(t)
	tree.Group(group, map[string]string{"memory.events": cgrouptest.Absent})
	events := filepath.Join(tree.Mount, group, "memory.events")
	if err := os.Symlink("memory.events", events); err != nil {
		t.Fatal(err)
	}
	gr, err := cgroup.Open(tree.Mount, group)
	if err != nil {
		t.Fatal(err)
	}
	defer gr.Close()
	j := newRecorder()
	w := &wakeups{target: target{group: gr}, events: Events{j}, woken: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { w.watch(ctx) })
	j.wait(t, "the missing wake-up", 1, kind(SensorMissing))
	if err := os.Remove(events); err != nil {
		t.Fatal(err)
	}
	tree.Write(group, "memory.events", "high 0\n")
	select {
	case <-w.woken:
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing wakes it")
	}
	if w.blind.Load() {
		t.Error("it is woken, and still blind")
	}
}
