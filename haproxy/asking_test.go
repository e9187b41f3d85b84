package haproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hapressure/tests/haproxytest"
)

// What hapressure asks of HAProxy costs nothing that HAProxy does not get back.

// everyRelease runs a test with each release.
func everyRelease(t *testing.T, test func(t *testing.T, release string)) {
	for _, release := range haproxytest.Releases() {
		t.Run("release "+release, func(t *testing.T) { test(t, release) })
	}
}

// sampleReleases runs a test with the releases of haproxytest.Sample.
func sampleReleases(t *testing.T, test func(t *testing.T, release string)) {
	for _, release := range haproxytest.Sample() {
		t.Run("release "+release, func(t *testing.T) { test(t, release) })
	}
}

// masterFiles counts the descriptors of the master: each slot of its CLI that is taken is
// one.
func masterFiles(t *testing.T, h *haproxytest.HAProxy) int {
	t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.Master))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// The master's CLI is not used at all: its slots belong to others. Where it is, or
// whether it answers, makes no difference.
func TestMasterCLIIsLeftAlone(t *testing.T) {
	t.Parallel()
	h := haproxytest.Start(t, haproxytest.Config{})
	h.Tunnel()
	h.Reload()
	if err := os.Remove(h.Socket()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", h.Socket())
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if c, err := l.Accept(); err == nil {
			c.Close()
			t.Error("the master's CLI was asked")
		}
	}()
	drainOld(t, h)
	l.Close()
	<-asked
}

func TestWorkersAreReachedWithoutAMasterCLI(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, release string) {
		h := haproxytest.Start(t, haproxytest.Config{Release: release, NoCLI: true})
		h.Tunnel()
		h.SignalReload()
		drainOld(t, h)
	})
}

// drainOld drains the one stopping worker of h, which has one tunnel.
func drainOld(t *testing.T, h *haproxytest.HAProxy) {
	t.Helper()
	s := NewScanner("/proc")
	w := scan(t, s, h, "one stopping and one current worker", hasStates(StateStopping,
		StateCurrent)).Workers[0]
	if n, err := w.Connections(t.Context()); err != nil || n != 1 {
		t.Errorf("%d connections, %v, want 1", n, err)
	}
	p, err := s.Recheck(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if d, err := (Replaced{p}).Drain(t.Context(), Pace{}); err != nil || d.Sessions != 1 {
		t.Errorf("%+v, %v, want one session shut down", d, err)
	}
}

// A stopping worker that hangs takes no slot of its master's CLI, however often it is
// examined, also by commands that know nothing of each other.
func TestHungWorkerTakesNoSlot(t *testing.T) {
	t.Parallel()
	sampleReleases(t, func(t *testing.T, release string) {
		h := haproxytest.Start(t, haproxytest.Config{Release: release})
		tunnel := h.Tunnel()
		h.Reload()
		old := h.Children()[0]
		if err := syscall.Kill(old, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer syscall.Kill(old, syscall.SIGCONT)
		before := masterFiles(t, h)
		daemon := NewScanner("/proc")
		for range 12 {
			for _, s := range []*Scanner{daemon, NewScanner("/proc")} {
				found, err := s.Scan(t.Context(), h.Pids())
				if err != nil || len(found) != 1 || !slices.Equal(states(found[0]),
					[]State{StateUnknown, StateCurrent}) {
					t.Fatalf("%+v, %v, want an unknown and a current worker", found, err)
				}
			}
		}
		if n := queuedFor(t, h, old); n != 1 {
			t.Errorf("%d connections wait for the worker, want 1", n)
		}
		if after := masterFiles(t, h); after != before {
			t.Errorf("the master has %d descriptors, had %d", after, before)
		}
		if !h.Ask("show proc", "worker") {
			t.Error("the master's CLI does not answer")
		}
		if err := syscall.Kill(old, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err := haproxytest.Echo(tunnel.(haproxytest.Tunnel)); err != nil {
			t.Errorf("tunnel: %v", err)
		}
		scan(t, NewScanner("/proc"), h, "the worker is stopping once it answers",
			hasStates(StateStopping, StateCurrent))
	})
}

// queuedFor counts the connections that wait on the socket pair of a worker to be taken:
// the kernel charges each as one buffer.
func queuedFor(t *testing.T, h *haproxytest.HAProxy, pid int) int {
	t.Helper()
	m := open(t, h.Master).p
	env, err := m.ReadFile("environ")
	if err != nil {
		t.Fatal(err)
	}
	note := regexp.MustCompile(fmt.Sprintf(`\|type=w;fd=(\d+);[^|]*pid=%d;`, pid)).FindSubmatch(env)
	if note == nil {
		t.Fatalf("no note of worker %d in the environment of its master", pid)
	}
	number, _ := strconv.Atoi(string(note[1]))
	pair, err := m.CopyDescriptor(number)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair)
	bytes, err := unix.IoctlGetInt(pair, unix.SIOCOUTQ)
	if err != nil {
		t.Fatal(err)
	}
	return bytes / oneMessage(t)
}

// oneMessage returns what the kernel charges a socket for one connection that waits on a
// pair, in bytes.
func oneMessage(t *testing.T) int {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	if err := unix.Sendmsg(ends[0], []byte{0, 0}, unix.UnixRights(ends[1]), nil, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(ends[0], unix.SIOCOUTQ)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// From 3.1 on the worker of a reload exists while it loads. It is neither current nor
// asked anything, and the reload ends as if it had not been examined.
func TestLoadingWorkerIsLeftAlone(t *testing.T) {
	t.Parallel()
	sampleReleases(t, func(t *testing.T, release string) {
		h := haproxytest.Start(t, haproxytest.Config{Release: release})
		if h.Before(3, 1) {
			t.Skip("the worker of a reload does not exist while it loads")
		}
		h.Tunnel()
		h.Reload()
		fifo := slowLoad(t, h)
		h.SignalReload()
		h.Eventually("a third worker loads", func() error {
			if n := len(h.Children()); n != 3 {
				return fmt.Errorf("%d children", n)
			}
			return nil
		})
		h.Eventually("the master answers again", func() error {
			if !h.Ask("show proc", "worker") {
				return errors.New("it does not")
			}
			return nil
		})
		before := masterFiles(t, h)
		for range 20 {
			scan(t, NewScanner("/proc"), h, "the loading worker is unknown",
				hasStates(StateStopping, StateCurrent, StateUnknown))
		}
		if after := masterFiles(t, h); after != before {
			t.Errorf("the master has %d descriptors, had %d", after, before)
		}
		fifo.release()
		scan(t, NewScanner("/proc"), h, "the reload ends", hasStates(StateStopping, StateCurrent))
		if !h.Ask("show proc", "worker") {
			t.Error("the master's CLI does not answer")
		}
		h.WriteConfig("")
		h.Tunnel()
		h.SignalReload()
		scan(t, NewScanner("/proc"), h, "the next reload is obeyed", hasStates(StateStopping,
			StateStopping, StateCurrent))
	})
}

// fifo holds up whatever reads its file.
type fifo struct {
	t    *testing.T
	path string
}

// slowLoad makes the next worker of h wait while it reads its configuration, until
// release.
func slowLoad(t *testing.T, h *haproxytest.HAProxy) fifo {
	t.Helper()
	f := fifo{t, filepath.Join(h.Dir, "slow")}
	if err := unix.Mkfifo(f.path, 0o600); err != nil {
		t.Fatal(err)
	}
	h.WriteConfig(fmt.Sprintf("frontend slow\n    bind unix@%s\n    mode http\n    acl x src -f "+
		"%s\n    default_backend webecho\n",
		h.Inside("slow.sock"), h.Inside("slow")))
	return f
}

// release lets the worker read on.
func (f fifo) release() {
	f.t.Helper()
	var w *os.File
	haproxytest.Eventually(f.t, "the worker reads the file", func() (err error) {
		w, err = os.OpenFile(f.path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err
	})
	_, err := io.WriteString(w, "192.0.2.1\n")
	if err := errors.Join(err, w.Close()); err != nil {
		f.t.Fatal(err)
	}
}
