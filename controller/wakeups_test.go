package controller

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"hapressure/cgroup"
	"hapressure/tests/cgrouptest"
)

// A guard that an event of the kernel cannot wake is blind to it. A probe reads pressure,
// and a group without events has none that could be missed.
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

// A guard is blind until each file that could not be watched has reported an event.
func TestGuardSeesAgain(t *testing.T) {
	w := &wakeups{events: Events{newRecorder()}, woken: make(chan struct{}, 1),
		blindTo: map[string]bool{}}
	for _, file := range []string{"memory.events", "cgroup.events"} {
		w.missing(file, os.ErrPermission)
	}
	for _, step := range []struct {
		file  string
		blind bool
	}{{"memory.pressure", true}, {"memory.events", true}, {"cgroup.events", false}} {
		w.reported(step.file)
		if got := w.blind.Load(); got != step.blind {
			t.Errorf("after an event of %s: blind %v, want %v", step.file, got, step.blind)
		}
		select {
		case <-w.woken:
		default:
			t.Errorf("an event of %s does not wake it", step.file)
		}
	}
}
