package haproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

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

// masterFiles counts the descriptors of the master: each slot of its CLI that is taken is one.
func masterFiles(t *testing.T, h *haproxytest.HAProxy) int {
	t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.Master))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// The master's CLI is not used at all: its slots belong to others. Where it is, or whether it answers, makes no difference.
func TestMasterCLIIsLeftAlone(t *testing.T) {
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
	w := scan(t, s, h, "one stopping and one current worker", hasStates(Stopping, Current)).Workers[0]
	if n, err := w.Connections(t.Context()); err != nil || n != 1 {
		t.Errorf("%d connections, %v, want 1", n, err)
	}
	p, err := s.Recheck(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if d, err := Drain(t.Context(), w, p, Pace{}); err != nil || d.Sessions != 1 {
		t.Errorf("%+v, %v, want one session shut down", d, err)
	}
}

// A stopping worker that hangs takes no slot of its master's CLI, however often it is examined, also by commands that know nothing of
// each other.
func TestHungWorkerTakesNoSlot(t *testing.T) {
	everyRelease(t, func(t *testing.T, release string) {
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
				if err != nil || len(found) != 1 || !slices.Equal(states(found[0]), []State{Unknown, Current}) {
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
		scan(t, NewScanner("/proc"), h, "the worker is stopping once it answers", hasStates(Stopping, Current))
	})
}

// queuedFor counts the connections that wait on the socket pair of a worker to be taken: the kernel charges each as one buffer.
func queuedFor(t *testing.T, h *haproxytest.HAProxy, pid int) int {
	t.Helper()
	m, worker := open(t, h.Master), open(t, pid)
	env, err := m.environ()
	if err != nil {
		t.Fatal(err)
	}
	st, err := readStatus("/proc", worker.PID)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.PidfdGetfd(m.pidfd, parseProcesses(env)[st.nspid], 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair)
	bytes, err := unix.IoctlGetInt(pair, unix.SIOCOUTQ)
	if err != nil {
		t.Fatal(err)
	}
	one := oneMessage(t)
	return bytes / one
}

// oneMessage returns what the kernel charges a socket for one connection that waits on a pair, in bytes.
func oneMessage(t *testing.T) int {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	conn, err := connectThrough(ends[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	n, err := unix.IoctlGetInt(ends[0], unix.SIOCOUTQ)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// From 3.1 on the worker of a reload exists while it loads. It is neither current nor asked anything, and the reload ends as if it had
// not been examined.
func TestLoadingWorkerIsLeftAlone(t *testing.T) {
	everyRelease(t, func(t *testing.T, release string) {
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
			scan(t, NewScanner("/proc"), h, "the loading worker is unknown", hasStates(Stopping, Current, Unknown))
		}
		if after := masterFiles(t, h); after != before {
			t.Errorf("the master has %d descriptors, had %d", after, before)
		}
		fifo.release()
		scan(t, NewScanner("/proc"), h, "the reload ends", hasStates(Stopping, Current))
		if !h.Ask("show proc", "worker") {
			t.Error("the master's CLI does not answer")
		}
		h.WriteConfig("")
		h.Tunnel()
		h.SignalReload()
		scan(t, NewScanner("/proc"), h, "the next reload is obeyed", hasStates(Stopping, Stopping, Current))
	})
}

// fifo holds up whatever reads its file.
type fifo struct {
	t    *testing.T
	path string
}

// slowLoad makes the next worker of h wait while it reads its configuration, until release.
func slowLoad(t *testing.T, h *haproxytest.HAProxy) fifo {
	t.Helper()
	f := fifo{t, filepath.Join(h.Dir, "slow")}
	if err := unix.Mkfifo(f.path, 0o600); err != nil {
		t.Fatal(err)
	}
	h.WriteConfig(fmt.Sprintf("frontend slow\n    bind unix@%s\n    mode http\n    acl x src -f %s\n    default_backend webecho\n",
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

// A worker that has not answered is asked again after ever longer times.
func TestSilentWorkerIsAskedLessAndLess(t *testing.T) {
	asked := make(chan struct{}, 100)
	answer := make(chan string, 1)
	c := serveCLI(t, func(conn net.Conn) {
		command(conn)
		asked <- struct{}{}
		io.WriteString(conn, <-answer)
	})
	c.timeout = 200 * time.Millisecond
	if _, err := c.ask(t.Context(), "show info", maxShort); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v, want no answer in time", err)
	}
	<-asked
	if _, err := c.ask(t.Context(), "show info", maxShort); !errors.Is(err, errSilent) || !strings.Contains(err.Error(), "again in 5s") {
		t.Errorf("%v, want errSilent", err)
	}
	now := time.Now()
	for _, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
		c.learn(now, errSilent)
		if got := c.next.Sub(now); got != want {
			t.Errorf("asked again after %v, want %v", got, want)
		}
	}
	for range 20 {
		c.learn(now, errSilent)
	}
	if got := c.next.Sub(now); got != retryMost {
		t.Errorf("asked again after %v, want %v", got, retryMost)
	}
	c.next = time.Time{}
	answer <- "first"
	answer <- "second"
	c.timeout = haproxytest.Deadline
	if got, err := c.ask(t.Context(), "show info", maxShort); err != nil || got != "second" {
		t.Errorf("%q, %v", got, err)
	}
	if err := c.mayAsk(now); err != nil || c.retry != 0 {
		t.Errorf("after an answer: %v, %v", err, c.retry)
	}
	if len(asked) != 1 {
		t.Errorf("%d more questions, want 1", len(asked))
	}
}
