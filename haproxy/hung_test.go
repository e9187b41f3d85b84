package haproxy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
	"hapressure/haproxy/shctx"
	"hapressure/tests/cachetest"
	"hapressure/tests/haproxytest"
)

// A worker that another process has stopped is purged as any other, and stays stopped
// until SIGCONT.
func TestStoppedWorkerStaysStopped(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	tunnel := h.Tunnel()
	p, err := unproven(h.Children()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer p.signal(unix.SIGCONT)
	h.Eventually("the worker is stopped", func() error { return inState(p, p.w.PID, 'T') })
	if res, err := purge(t.Context(), p, h.Pids()); err != nil || res.Freed() == 0 {
		t.Errorf("purge: %+v, %v", res, err)
	}
	tids, err := p.p.Threads()
	if err != nil {
		t.Fatal(err)
	}
	for _, tid := range tids {
		h.Eventually("the thread is stopped as before", func() error {
			return inState(p, tid,
				'T')
		})
	}
	if err := p.signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel: %v", err)
	}
}

func inState(p *Stopping, tid int, want byte) error {
	st, err := proc.ReadStat(p.p.Path("task"), tid)
	if err == nil && st.State != want {
		err = fmt.Errorf("thread %d is in state %c", tid, st.State)
	}
	return err
}

// sleepDeep never returns: the thread waits in vfork(2), in uninterruptible sleep, for a
// child that does nothing.
func sleepDeep() {
	child, _, _ := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0, 0,
		0, 0)
	for child == 0 {
		unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

// startSleeper starts a process whose threads can be stopped, but for one that is in
// uninterruptible sleep.
func startSleeper(t *testing.T) *Stopping {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), actEnv+"=sleep")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its child as well
		cmd.Wait()
	})
	p, err := unproven(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	haproxytest.Eventually(t, "a thread sleeps", func() error { return anyInState(p, 'D') })
	return p
}

// anyInState returns nil if a thread of p is in that state.
func anyInState(p *Stopping, want byte) error {
	tids, err := p.p.Threads()
	if err != nil {
		return err
	}
	for _, tid := range tids {
		if err = inState(p, tid, want); err == nil {
			return nil
		}
	}
	return err
}

// A thread in uninterruptible sleep does not stop. Then nothing is done, and all threads
// are released.
func TestThreadThatDoesNotStop(t *testing.T) {
	p := startSleeper(t)
	_, err := p.p.Freeze(HoldLimit, never,
		func() error { t.Error("it was taken for stopped"); return nil })
	if !errors.Is(err, ErrCannotStop) || !strings.Contains(err.Error(), "did not stop within") {
		t.Errorf("freezing it: %v", err)
	}
	// the last by the end of the tracing thread
	haproxytest.Eventually(t, "all its threads are released", func() error { return free(p.w.PID) })
}

// A thread that takes the cache's lock, or blocks of the cache, while the last thread has
// yet to stop, ends the freeze: all threads are released then, not when the wait for the
// last one is over. Otherwise a thread that was stopped inside the lock would keep it
// from those that still run, and HAProxy's watchdog abort the worker.
func TestFreezeEndsWhenTheCacheIsTaken(t *testing.T) {
	for what, take := range map[string]func(h *shctx.Header){
		"lock":   func(h *shctx.Header) { *word64(h, shctx.OffLock) = 1 },
		"blocks": func(h *shctx.Header) { *word32(h, h.Layout.NBAV) -= 4 },
	} {
		t.Run(what, func(t *testing.T) {
			p := startSleeper(t)
			cache := shctx.Cache{Layout: shctx.TLSLayouts[0], Blocks: 100}
			h := cache.Header(cachetest.TLS(cache.Layout, 100, int(pageSize)), cachetest.Start)
			check := func() error {
				if anyInState(p, 't') == nil { // the first thread has stopped; the sleeper has not
					take(h)
				}
				return h.Idle()
			}
			if err := h.Idle(); err != nil {
				t.Fatalf("before it is taken: %v", err)
			}
			_, err := p.p.Freeze(HoldLimit, check,
				func() error { t.Error("all were taken for stopped"); return nil })
			if !errors.Is(err, ErrBusy) {
				t.Errorf("freeze: %v; want it to end because the cache is in use", err)
			}
			haproxytest.Eventually(t, "all its threads are released",
				func() error { return free(p.w.PID) })
		})
	}
}

// never is a check that finds no reason to release a worker.
func never() error { return nil }

// dieStopped stops every thread of p from a thread that then ends without detaching.
func dieStopped(t *testing.T, p *Stopping) {
	t.Helper()
	stopped := false
	p.p.Freeze(HoldLimit, never, func() error {
		stopped = true
		runtime.Goexit()
		return nil
	})
	if !stopped {
		t.Fatal("its threads were not stopped")
	}
}
