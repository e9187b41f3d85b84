package haproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Freezing a worker.
//
// The few stores that empty a cache must not run beside a thread of the worker that is inside of it. HAProxy has a lock for that,
// and it lies in the same memory; but whoever takes it and dies leaves it taken for ever, and the worker's threads spin on it
// until HAProxy's watchdog aborts. So it is not taken. Instead all threads of the worker are stopped by ptrace(2) for a moment and
// the lock is only looked at: 0 means that no thread is inside. A tracer that dies, at whatever instruction and by whatever signal,
// is detached by the kernel and its tracees go on running (ptrace(2), "Death under ptrace"; kernel/ptrace.c, exit_ptrace).
// A tracer that neither runs nor dies is killed by its own timer (deadman.go).

// stopLimit bounds how long the threads may take to stop before they are released again. A thread in uninterruptible sleep (on a slow
// swap device, say) does not stop until it wakes.
const stopLimit = 100 * time.Millisecond

// stopLooks bounds how often new threads are looked for. HAProxy starts all of its threads before it serves.
const stopLooks = 10

// freeze runs fn while every thread of the process is stopped, and returns how long the first of them was kept from running.
// fn must be short and must not block. check is called before the first thread is stopped and after each stop; if it
// returns an error, the threads are released at once and that is the error of freeze. If the threads cannot be stopped, fn is not
// run and the error is a *Refusal or ErrGone.
func (p *Process) freeze(check, fn func() error) (held time.Duration, err error) {
	f, err := p.newFreezer(check)
	if err != nil {
		return 0, err
	}
	defer f.close()
	// Only the thread that traces may detach, and when it ends the kernel detaches what is left. The worker waits for it, so
	// it has the highest priority.
	readProgram()
	onThread(-20, func() { held, err = f.run(fn) })
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

// freezer is all that a freeze needs, made before the first thread is stopped: while threads are stopped nothing is opened, and
// nothing is allocated that Go's memory management could make wait.
type freezer struct {
	p       *Process
	check   func() error
	task    *os.File      // /proc/PID/task
	fd      int           // of task
	entries []byte        // of task, as they were read last
	tids    []int         // those of the entries
	threads []thread      // that were seized and have not ended
	limit   time.Duration // of the hold: HoldLimit, except in tests that read a whole cache
	began   time.Time
}

type thread struct {
	tid            int
	stopped, ended bool
}

func (p *Process) newFreezer(check func() error) (*freezer, error) {
	task, err := p.openTask()
	if err != nil {
		return nil, err
	}
	f := &freezer{p: p, check: check, task: task, fd: int(task.Fd()), entries: make([]byte, 16<<10), limit: HoldLimit}
	n, err := f.count()
	if err != nil {
		f.close()
		return nil, err
	}
	f.tids, f.threads = make([]int, 0, 2*n), make([]thread, 0, 2*n)
	return f, nil
}

func (f *freezer) close() { f.task.Close() }

// readProgram reads this program from its file. So all of its pages are in memory before a thread is stopped, and none is read from a disk
// while threads wait. They need not be mapped, which would count against the bound on this process's memory, nor locked: they were
// used a moment ago. If it fails, a freeze may take longer.
func readProgram() {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return
	}
	defer f.Close()
	for buf := make([]byte, 64<<10); err == nil; {
		_, err = f.Read(buf)
	}
}

func (f *freezer) run(fn func() error) (time.Duration, error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	d, err := armDeadman(f.limit)
	if err != nil {
		return 0, err
	}
	f.began = time.Now()
	err = f.stopAll(d)
	// All are stopped, so the process cannot exit by itself, and its pid is still the one that the pidfd pins.
	if err == nil && !f.p.Alive() {
		err = ErrGone
	}
	if err == nil {
		err = fn()
	}
	if left := f.detach(); left == 0 {
		d.disarm()
	} else {
		// The end of this thread releases them. Until then the switch is armed; from then on it has no target.
		time.AfterFunc(2*f.limit, d.disarm)
	}
	return time.Since(f.began), err
}

// stopAll stops every thread, and looks again until a look finds no new one: a thread not yet stopped may start another.
func (f *freezer) stopAll(d *deadman) error {
	for range stopLooks {
		if err := f.list(); err != nil {
			return err
		}
		fresh, err := f.seizeNew(d)
		if err != nil {
			return err
		}
		if fresh == 0 {
			return f.complete()
		}
		for i := range f.threads {
			if err := f.await(&f.threads[i]); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%w: pid %d makes new threads faster than they can be stopped", ErrCannotStop, f.p.PID)
}

// seizeNew seizes the threads listed that are not seized yet, and returns how many these are.
func (f *freezer) seizeNew(d *deadman) (fresh int, err error) {
	f.threads = slices.DeleteFunc(f.threads, func(th thread) bool { return th.ended })
	for _, tid := range f.tids {
		if slices.ContainsFunc(f.threads, func(th thread) bool { return th.tid == tid }) {
			continue
		}
		fresh++
		f.threads = append(f.threads, thread{tid: tid})
		if err := d.seize(tid); errors.Is(err, unix.ESRCH) {
			f.threads = f.threads[:len(f.threads)-1] // it ended; the next look does not find it
		} else if err != nil {
			return fresh, fmt.Errorf("%w: tracing thread %d of pid %d: %v", ErrCannotStop, tid, f.p.PID, err)
		}
	}
	return fresh, nil
}

// complete checks that the threads stopped are all there are: a listing ends early if a thread exits while it is read.
func (f *freezer) complete() error {
	n, err := f.count()
	if err == nil && n != len(f.threads) {
		err = fmt.Errorf("%w: %d of the %d threads of pid %d were stopped", ErrCannotStop, len(f.threads), n, f.p.PID)
	}
	return err
}

// count is how many threads the process has: the links of /proc/PID/task besides . and .. (fs/proc/base.c, proc_task_getattr).
func (f *freezer) count() (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, fmt.Errorf("counting the threads of pid %d: %w", f.p.PID, err)
	}
	return int(st.Nlink) - 2, nil
}

// list reads /proc/PID/task into f.tids (getdents64(2)).
func (f *freezer) list() error {
	f.tids = f.tids[:0]
	_, err := unix.Seek(f.fd, 0, 0)
	for err == nil {
		var n int
		if n, err = unix.Getdents(f.fd, f.entries); n <= 0 {
			break
		}
		for rest := f.entries[:n]; len(rest) > 0; rest = rest[binary.NativeEndian.Uint16(rest[16:]):] {
			if tid := number(rest[19:]); tid > 0 {
				f.tids = append(f.tids, tid)
			}
		}
	}
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("listing the threads of pid %d: %w", f.p.PID, err)
	}
	return nil
}

// number is the number that a name of /proc/PID/task is, up to its final NUL; 0 for any other name.
func number(name []byte) int {
	n := 0
	for _, c := range name {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// ptraceEventStop is the event of a stop that PTRACE_INTERRUPT asked for (PTRACE_EVENT_STOP).
const ptraceEventStop = 128

// await waits until the thread is stopped by our interrupt, or has ended. Any other stop is a signal on its way to the thread: it
// gets its signal and is interrupted again.
func (f *freezer) await(th *thread) error {
	for !th.stopped && !th.ended {
		if err := f.check(); err != nil {
			return err
		}
		var ws unix.WaitStatus
		got, err := unix.Wait4(th.tid, &ws, unix.WALL|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD), err == nil && got == th.tid && (ws.Exited() || ws.Signaled()):
			th.ended = true
		case err != nil:
			return fmt.Errorf("%w: waiting for thread %d of pid %d: %v", ErrCannotStop, th.tid, f.p.PID, err)
		case got == 0 && time.Since(f.began) > stopLimit:
			return fmt.Errorf("%w: thread %d of pid %d did not stop within %v", ErrCannotStop, th.tid, f.p.PID, stopLimit)
		case got == 0:
			nap()
		case int(ws)>>16 == ptraceEventStop:
			th.stopped = true
		default:
			if err := unix.PtraceCont(th.tid, int(ws.StopSignal())); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("%w: passing a signal on to thread %d of pid %d: %v", ErrCannotStop, th.tid, f.p.PID, err)
			}
			if err := interrupt(th.tid); err != nil {
				return fmt.Errorf("%w: stopping thread %d of pid %d: %v", ErrCannotStop, th.tid, f.p.PID, err)
			}
		}
	}
	return nil
}

// nap sleeps some 70 microseconds: there is no event to wait for with a bound, and a thread stops within microseconds. It does not return
// to Go's scheduler, whose other threads would have to get a CPU, and at a lower priority, for this one to go on.
func nap() {
	ts := unix.Timespec{Nsec: 20_000}
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// detach releases every stopped thread, and returns how many are left: one that has not stopped cannot be detached by a call; the
// end of the thread that traces does it.
func (f *freezer) detach() (left int) {
	for _, th := range f.threads {
		switch {
		case th.stopped:
			unix.PtraceDetach(th.tid)
		case !th.ended:
			left++
		}
	}
	f.threads = f.threads[:0]
	return left
}

// openTask opens the folder of the process's threads, /proc/PID/task.
func (p *Process) openTask() (*os.File, error) {
	d, err := os.Open(p.path("task"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("listing the threads of pid %d: %w", p.PID, err)
	}
	return d, nil
}

// threads lists the process's threads.
func (p *Process) threads() ([]int, error) {
	d, err := p.openTask()
	if err != nil {
		return nil, err
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
