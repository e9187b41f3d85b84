package cgroup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/tests/cgrouptest"
)

// deadline is for what must happen; only a test that fails waits so long.
const deadline = 2 * time.Minute

// watching runs Watch until the test ends and returns what it reports.
func watching(t *testing.T, g *Group) (wakes, missing chan string, ended chan error, stop func()) {
	t.Helper()
	wakes, missing, ended = make(chan string, 1000), make(chan string, 10), make(chan error, 1)
	lacks := func(sensor string, err error) {
		switch {
		case errors.Is(err, ErrPSIOff):
			sensor += " psi off"
		case errors.Is(err, ErrAbsent):
			sensor += " absent"
		case errors.Is(err, errTriggerLost):
			sensor += " lost"
		}
		missing <- sensor
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- g.watch(ctx, 50*time.Millisecond, lacks, func(reason string) { wakes <- reason })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return wakes, missing, ended, cancel
}

func receive[T any](t *testing.T, from chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(deadline):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func TestWatchFiles(t *testing.T) {
	tree, g := open(t, nil)
	wakes, _, ended, stop := watching(t, g)
	// The watch begins some time after Watch is called: write until it has.
	writeUntil(t, wakes, "memory.events", func() { tree.Write(unit, "memory.events", "high 1\n") })
	writeUntil(t, wakes, "cgroup.events", func() { tree.Write(unit, "cgroup.events", "populated 0\n") })
	stop()
	if err := receive(t, ended, "end of Watch"); err != nil {
		t.Errorf("Watch after its context ended: %v, want nil", err)
	}
}

func writeUntil(t *testing.T, wakes chan string, reason string, write func()) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	late := time.After(deadline)
	for {
		select {
		case got := <-wakes:
			if got == reason {
				return
			}
		case <-again.C:
			write()
		case <-late:
			t.Fatalf("no wake-up by %s", reason)
		}
	}
}

func TestWatchMissingSensors(t *testing.T) {
	tree, g := open(t, map[string]string{pressureFile: cgrouptest.Absent, "memory.events": cgrouptest.Absent})
	wakes, missing, _, _ := watching(t, g)
	got := []string{receive(t, missing, "missing sensor"), receive(t, missing, "second missing sensor")}
	if want := []string{"memory.pressure psi off", "memory.events absent"}; !slices.Equal(got, want) {
		t.Errorf("missing: %q, want %q", got, want)
	}
	writeUntil(t, wakes, "cgroup.events", func() { tree.Write(unit, "cgroup.events", "populated 0\n") })
}

// Pressure that is turned on later wakes as well, and so does a memory controller.
func TestSensorsThatComeLaterWake(t *testing.T) {
	tree, g := open(t, map[string]string{pressureFile: cgrouptest.Absent, "memory.events": cgrouptest.Absent})
	wakes, missing, _, _ := watching(t, g)
	receive(t, missing, "missing sensor")
	receive(t, missing, "second missing sensor")
	tree.Write(unit, pressureFile, "")
	tree.Write(unit, "memory.events", "high 0\n")
	writeUntil(t, wakes, "memory.events", func() {}) // for what has happened until then
	writeUntil(t, wakes, "memory.events", func() { tree.Write(unit, "memory.events", "high 1\n") })
	// The controller is taken away and given back: the kernel makes another file.
	if err := os.Rename(filepath.Join(tree.Mount, unit, "memory.events"), filepath.Join(tree.Mount, "old")); err != nil {
		t.Fatal(err)
	}
	tree.Write(unit, "memory.events", "high 0\n")
	for len(wakes) > 0 {
		<-wakes
	}
	writeUntil(t, wakes, "memory.events", func() {})
	writeUntil(t, wakes, "memory.events", func() { tree.Write(unit, "memory.events", "high 1\n") })
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for late := time.After(deadline); ; {
		select {
		case <-again.C:
		case <-late:
			t.Fatal("no trigger was written")
		}
		data, err := os.ReadFile(filepath.Join(tree.Mount, unit, pressureFile))
		if err != nil {
			t.Fatal(err)
		}
		if string(data) == "some 100000 1000000\x00" {
			return
		}
	}
}

func TestWatchEndsWithTheGroup(t *testing.T) {
	tree, g := open(t, nil)
	wakes, _, ended, _ := watching(t, g)
	writeUntil(t, wakes, "cgroup.events", func() { tree.Write(unit, "cgroup.events", "populated 0\n") })
	tree.Remove(unit)
	tree.Group(unit, nil)
	if err := receive(t, ended, "end of Watch"); !errors.Is(err, ErrGone) {
		t.Errorf("Watch of a removed group: %v, want ErrGone", err)
	}

	wakes, missing, ended, _ := watching(t, g)
	if err := receive(t, ended, "end of Watch"); !errors.Is(err, ErrGone) || len(wakes)+len(missing) != 0 {
		t.Errorf("Watch of a group gone before: %v, %d wake-ups, %d missing", err, len(wakes), len(missing))
	}
}

func TestTriggerText(t *testing.T) {
	tree, g := open(t, nil)
	trigger, err := g.openTrigger(150*time.Millisecond, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	trigger.close()
	data, err := os.ReadFile(filepath.Join(tree.Mount, unit, pressureFile))
	if want := "some 150000 2000000\x00"; err != nil || string(data[:len(want)]) != want {
		t.Errorf("wrote %q, %v; want %q first", data, err, want)
	}
}

// A socket with unread urgent data is as a trigger that never falls silent:
// POLLPRI at every poll.
func TestTriggerHitsUntilClosed(t *testing.T) {
	near, far := urgentPair(t)
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	trigger := startTrigger(near, stop)
	if err := unix.Sendto(far, []byte("!"), unix.MSG_OOB, nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		receive(t, trigger.hits, "hit")
	}
	trigger.close()
	if err, ok := <-trigger.lost; ok {
		t.Errorf("closed trigger is lost: %v", err)
	}
}

// A pipe whose reader is gone gives POLLERR, as a trigger of a removed group.
func TestTriggerLost(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	trigger := startTrigger(pipe[1], stop)
	unix.Close(pipe[0])
	if err := receive(t, trigger.lost, "end of the trigger"); !errors.Is(err, errTriggerLost) {
		t.Errorf("got %v, want errTriggerLost", err)
	}
	trigger.close()
}

// urgentPair is a connected pair of TCP sockets on the loopback.
func urgentPair(t *testing.T) (near, far int) {
	t.Helper()
	var err error
	must := func() {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must()
	defer unix.Close(listener)
	err = unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	must()
	err = unix.Listen(listener, 1)
	must()
	addr, err := unix.Getsockname(listener)
	must()
	far, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must()
	t.Cleanup(func() { unix.Close(far) })
	err = unix.Connect(far, addr)
	must()
	near, _, err = unix.Accept(listener)
	must()
	return near, far
}
