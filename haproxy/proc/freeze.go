package proc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Freezing a process.
//
// Some stores in a process's memory must not run beside its threads. A lock of the
// process is no help: a process that takes it and dies leaves it taken for ever. So
// ptrace(2) stops all threads for a moment, and a lock in their memory is only read. The
// kernel detaches a tracer that dies, at any instruction and by any signal, and its
// tracees continue (ptrace(2), "Death under ptrace"; kernel/ptrace.c, exit_ptrace). A
// tracer that neither runs nor dies is killed by its own timer (deadman.go).

// StopLimit bounds how long the threads may take to stop before they are released. A
// thread in uninterruptible sleep (on a slow swap device, for example) does not stop
// until it wakes.
const StopLimit = 100 * time.Millisecond

// stopRounds bounds how often new threads are listed. A server starts its threads before
// it serves.
const stopRounds = 10

// Freeze runs fn while every thread of the process is stopped, and returns how long the
// first of them was kept from running. fn must be short and must not block. When limit
// has passed since the first stop, the kernel kills this process and so releases every
// thread.
//
// check is called before the first thread is stopped and after each stop. If it returns
// an error, Freeze releases the threads at once and returns that error. If the threads
// cannot be stopped, fn is not run and the error is ErrCannotStop or ErrGone.
func (p *Process) Freeze(limit time.Duration, check, fn func() error) (
	held time.Duration, err error) {
	f, err := p.newFreezer(limit, check)
	if err != nil {
		return 0, err
	}
	defer f.close()
	// Only the thread that traces may detach, and when it ends the kernel detaches the
	// rest. The frozen process waits for it, so it has the highest priority.
	readProgram()
	OnThread(-20, func() { held, err = f.run(fn) })
	return held, err
}

// freezer holds what a freeze needs. It is made before the first thread is stopped: while
// threads are stopped nothing is opened, and nothing is allocated that could wait for
// Go's memory management.
type freezer struct {
	p       *Process
	limit   time.Duration // of the hold
	check   func() error
	task    *os.File // /proc/PID/task
	fd      int      // of task
	entries []byte   // of task, as they were read last
	tids    []int    // those of the entries
	threads []thread // that were seized and have not ended
	began   time.Time
}

type thread struct {
	tid            int
	stopped, ended bool
}

func (p *Process) newFreezer(limit time.Duration, check func() error) (*freezer, error) {
	task, err := p.openTask()
	if err != nil {
		return nil, err
	}
	f := &freezer{p: p, limit: limit, check: check, task: task, fd: int(task.Fd()),
		entries: make([]byte, 16<<10)}
	n, err := f.count()
	if err != nil {
		f.close()
		return nil, err
	}
	f.tids, f.threads = make([]int, 0, 2*n), make([]thread, 0, 2*n)
	return f, nil
}

func (f *freezer) close() { f.task.Close() }

// readProgram reads this program from its file. So all of its pages are in memory before
// a thread is stopped, and none is read from a disk while threads wait. The pages need
// not be mapped, which would count against the bound on this process's memory, nor
// locked: they were used a moment ago. If it fails, a freeze may take longer.
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
	// All are stopped, so the process cannot exit by itself, and the pidfd still pins its
	// pid.
	if err == nil && !f.p.Alive() {
		err = ErrGone
	}
	if err == nil {
		err = fn()
	}
	if left := f.detach(); left == 0 {
		d.disarm()
	} else {
		// The end of this thread releases them. Until then the switch stays armed;
		// afterwards it has no target.
		time.AfterFunc(2*f.limit, d.disarm)
	}
	return time.Since(f.began), err
}

// stopAll stops every thread. A thread that is not yet stopped may start another, so the
// threads are listed again until no new one is found.
func (f *freezer) stopAll(d *deadman) error {
	for range stopRounds {
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
	return fmt.Errorf("%w: pid %d makes new threads faster than they can be stopped",
		ErrCannotStop, f.p.PID)
}

// seizeNew seizes the listed threads that are not seized yet, and returns their number.
func (f *freezer) seizeNew(d *deadman) (fresh int, err error) {
	f.threads = slices.DeleteFunc(f.threads, func(th thread) bool { return th.ended })
	for _, tid := range f.tids {
		if slices.ContainsFunc(f.threads, func(th thread) bool { return th.tid == tid }) {
			continue
		}
		fresh++
		f.threads = append(f.threads, thread{tid: tid})
		if err := d.seize(tid); errors.Is(err, unix.ESRCH) {
			f.threads = f.threads[:len(f.threads)-1] // it ended; the next list does not contain it
		} else if err != nil {
			return fresh, fmt.Errorf("%w: tracing thread %d of pid %d: %v",
				ErrCannotStop, tid, f.p.PID, err)
		}
	}
	return fresh, nil
}

// complete checks that all threads are stopped: a list ends early if a thread exits while
// it is read.
func (f *freezer) complete() error {
	n, err := f.count()
	if err == nil && n != len(f.threads) {
		err = fmt.Errorf("%w: %d of the %d threads of pid %d were stopped",
			ErrCannotStop, len(f.threads), n, f.p.PID)
	}
	return err
}

// count returns the number of threads: the links of /proc/PID/task except . and ..
// (fs/proc/base.c, proc_task_getattr).
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
		for rest := f.entries[:n]; len(rest) > 0; {
			if tid := threadID(rest[19:]); tid > 0 {
				f.tids = append(f.tids, tid)
			}
			rest = rest[binary.NativeEndian.Uint16(rest[16:]):]
		}
	}
	if err = goneError(err); err != nil && err != ErrGone {
		err = fmt.Errorf("listing the threads of pid %d: %w", f.p.PID, err)
	}
	return err
}

// threadID parses a name in /proc/PID/task, up to its final NUL. It returns 0 for any
// other name.
func threadID(name []byte) int {
	n := 0
	for _, c := range name {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// ptraceEventStop is the event of a stop that PTRACE_INTERRUPT asked for
// (PTRACE_EVENT_STOP).
const ptraceEventStop = 128

// await waits until the interrupt has stopped the thread, or the thread has ended. Any
// other stop is a signal on its way to the thread: the thread gets the signal and is
// interrupted again.
func (f *freezer) await(th *thread) error {
	for !th.stopped && !th.ended {
		if err := f.check(); err != nil {
			return err
		}
		var ws unix.WaitStatus
		got, err := unix.Wait4(th.tid, &ws, unix.WALL|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD),
			err == nil && got == th.tid && (ws.Exited() || ws.Signaled()):
			th.ended = true
		case err != nil:
			return fmt.Errorf("%w: waiting for thread %d of pid %d: %v",
				ErrCannotStop, th.tid, f.p.PID, err)
		case got == 0 && time.Since(f.began) > StopLimit:
			return fmt.Errorf("%w: thread %d of pid %d did not stop within %v",
				ErrCannotStop, th.tid, f.p.PID, StopLimit)
		case got == 0:
			nap()
		case int(ws)>>16 == ptraceEventStop:
			th.stopped = true
		default:
			err := unix.PtraceCont(th.tid, int(ws.StopSignal()))
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("%w: passing a signal on to thread %d of pid %d: %v",
					ErrCannotStop, th.tid, f.p.PID, err)
			}
			if err := interrupt(th.tid); err != nil {
				return fmt.Errorf("%w: stopping thread %d of pid %d: %v",
					ErrCannotStop, th.tid, f.p.PID, err)
			}
		}
	}
	return nil
}

// nap sleeps some 70 microseconds: no event with a bound can be awaited, and a thread
// stops within microseconds. It does not return to Go's scheduler, whose other threads
// run at a lower priority and would have to get a CPU before this one could continue.
func nap() {
	ts := unix.Timespec{Nsec: 20_000}
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// detach releases every stopped thread, and returns how many are left. A thread that has
// not stopped cannot be detached by a call; the end of the thread that traces detaches
// it.
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
