package haproxy

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Holding a worker still.
//
// The few stores that empty a cache must not run beside a thread of the worker that is inside of it. HAProxy has a lock for that,
// and it lies in the same memory; but whoever takes it and dies leaves it taken for ever, and the worker's threads spin on it
// until HAProxy's watchdog aborts. So it is not taken. Instead all threads of the worker are stopped by ptrace(2) for a moment and
// the lock is only looked at: 0 means that no thread is inside. A tracer that dies, at whatever instruction and by whatever signal,
// is detached by the kernel and its tracees go on running (ptrace(2), "Death under ptrace"; kernel/ptrace.c, exit_ptrace).

// stopLimit bounds how long the threads may take to stop before they are let go again. A thread in uninterruptible sleep (on a slow
// swap device, say) does not stop until it wakes.
const stopLimit = 100 * time.Millisecond

// stopLooks bounds how often new threads are looked for. HAProxy starts all of its threads before it serves.
const stopLooks = 10

// still runs fn while every thread of the process is stopped, and returns how long the first of them was kept from running.
// fn must be short and must not block. If the threads cannot be stopped fn is not run and the error is a *Refusal or ErrGone.
func (p *Process) still(fn func() error) (held time.Duration, err error) {
	// Only the thread that traces may detach, and when it ends the kernel detaches whatever is left. The worker waits for us: nobody
	// should run before.
	onThread(-20, func() {
		t := tracer{p: p, stopped: map[int]bool{}}
		held, err = t.run(fn)
	})
	return held, err
}

// onThread runs fn on a thread of its own, which has a niceness (setpriority(2)) if that can be had, and ends with fn.
func onThread(nice int, fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: so the thread ends when the goroutine returns
		if unix.Gettid() == unix.Getpid() {
			// The process's first thread does not end with its goroutine. While it is held here, another one is found.
			onThread(nice, fn)
			runtime.UnlockOSThread()
			return
		}
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, nice)
		fn()
	}()
	<-done
}

type tracer struct {
	p       *Process
	stopped map[int]bool // by thread id; false = seized, not yet stopped
	began   time.Time
}

func (t *tracer) run(fn func() error) (time.Duration, error) {
	defer t.detach()
	t.began = time.Now()
	if err := t.stopAll(); err != nil {
		return time.Since(t.began), err
	}
	// All are stopped, so the process cannot exit by itself, and its pid is still the one that the pidfd pins.
	if !t.p.Alive() {
		return time.Since(t.began), ErrGone
	}
	err := fn()
	t.detach()
	return time.Since(t.began), err
}

// stopAll stops every thread, and looks again until a look finds no new one: a thread not yet stopped may start another.
func (t *tracer) stopAll() error {
	for range stopLooks {
		tids, err := t.p.threads()
		if err != nil {
			return err
		}
		fresh := 0
		for _, tid := range tids {
			if _, ok := t.stopped[tid]; ok {
				continue
			}
			fresh++
			if err := t.seize(tid); err != nil {
				return err
			}
		}
		if fresh == 0 {
			return t.complete()
		}
		for tid, stopped := range t.stopped {
			if !stopped {
				if err := t.waitStop(tid); err != nil {
					return err
				}
			}
		}
	}
	return refuse(CannotStop, "pid %d makes new threads faster than they can be stopped", t.p.PID)
}

// complete checks that the threads stopped are all there are: a listing ends early if a thread exits while it is read.
func (t *tracer) complete() error {
	st, err := readStatus(t.p.procfs, t.p.PID)
	if err == nil && st.threads != len(t.stopped) {
		err = refuse(CannotStop, "%d of the %d threads of pid %d were stopped", len(t.stopped), st.threads, t.p.PID)
	}
	return err
}

func (t *tracer) seize(tid int) error {
	err := unix.PtraceSeize(tid)
	if errors.Is(err, unix.ESRCH) {
		return nil // it ended; the next look does not find it
	}
	if err != nil {
		return refuse(CannotStop, "tracing thread %d of pid %d: %v", tid, t.p.PID, err)
	}
	t.stopped[tid] = false
	if err := unix.PtraceInterrupt(tid); err != nil && !errors.Is(err, unix.ESRCH) {
		return refuse(CannotStop, "stopping thread %d of pid %d: %v", tid, t.p.PID, err)
	}
	return nil
}

// ptraceEventStop is the event of a stop that PTRACE_INTERRUPT asked for (PTRACE_EVENT_STOP).
const ptraceEventStop = 128

// waitStop waits until the thread stands still because of our interrupt. Any other stop is a signal on its way to the thread: it
// gets its signal and is interrupted again.
func (t *tracer) waitStop(tid int) error {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(tid, &ws, unix.WALL|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD), err == nil && got == tid && (ws.Exited() || ws.Signaled()):
			delete(t.stopped, tid)
			return nil
		case err != nil:
			return refuse(CannotStop, "waiting for thread %d of pid %d: %v", tid, t.p.PID, err)
		case got == 0:
			if time.Since(t.began) > stopLimit {
				return refuse(CannotStop, "thread %d of pid %d did not stop within %v", tid, t.p.PID, stopLimit)
			}
			// There is no event to wait for with a bound; a stop comes within microseconds.
			time.Sleep(20 * time.Microsecond)
			continue
		}
		if int(ws)>>16 == ptraceEventStop {
			t.stopped[tid] = true
			return nil
		}
		if err := unix.PtraceCont(tid, int(ws.StopSignal())); err != nil && !errors.Is(err, unix.ESRCH) {
			return refuse(CannotStop, "passing a signal on to thread %d of pid %d: %v", tid, t.p.PID, err)
		}
		if err := unix.PtraceInterrupt(tid); err != nil && !errors.Is(err, unix.ESRCH) {
			return refuse(CannotStop, "stopping thread %d of pid %d: %v", tid, t.p.PID, err)
		}
	}
}

// detach lets every stopped thread run on. One that has not stopped cannot be detached by a call; the end of our thread does it.
func (t *tracer) detach() {
	for tid, stopped := range t.stopped {
		if stopped {
			unix.PtraceDetach(tid)
		}
		delete(t.stopped, tid)
	}
}

// threads lists the process's threads (/proc/PID/task).
func (p *Process) threads() ([]int, error) {
	d, err := os.Open(p.path("task"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("listing the threads of pid %d: %w", p.PID, err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("listing the threads of pid %d: %w", p.PID, err)
	}
	tids := make([]int, 0, len(names))
	for _, n := range names {
		tid, err := strconv.Atoi(n)
		if err != nil {
			return nil, fmt.Errorf("listing the threads of pid %d: %w", p.PID, err)
		}
		tids = append(tids, tid)
	}
	return tids, nil
}
