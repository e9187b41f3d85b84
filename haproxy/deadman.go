package haproxy

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HoldLimit is how long a thread of a worker can be held, whatever happens to this process. When it has passed, the kernel
// kills this process and releases every thread that it held.
//
// It is 2.5 times stopLimit, so a freeze that gives up in time is not killed for it. It is a tenth of the time after
// which HAProxy's watchdog aborts a worker whose threads spin on a lock, and below the second after which VRRP,
// health checks and TCP keep-alives notice silence.
const HoldLimit = 250 * time.Millisecond

// A deadman is a dead man's switch: a kernel timer that kills this process when a time has passed, unless it is
// disarmed before. Threads are seized through it, so none is ever held without one.
//
// SIGKILL also ends a process that is stopped (SIGSTOP) or in a frozen cgroup of version 2, and the kernel detaches what
// a dead tracer traced. The signal is for the thread that armed the switch, which is the one that traces: once that thread
// has ended, it holds nothing and the timer has no target (kernel/signal.c, send_sigqueue; kernel/time/posix-timers.c). A timer
// is not inherited by a child, and execve(2) deletes it (timer_create(2)).
type deadman struct{ timer int32 }

// sigevent is struct sigevent for a signal to one thread (sigevent(3type), SIGEV_THREAD_ID).
type sigevent struct {
	value         uint64
	signo, notify int32
	thread        int32
	_             [44]byte
}

const sigevThreadID = 4

// armDeadman arms a switch that fires after limit, for the calling thread, which must be locked to its goroutine.
//
// The clock stands still while the machine is suspended (CLOCK_MONOTONIC), as the worker does: a hold that a suspend
// interrupts is not too long.
func armDeadman(limit time.Duration) (*deadman, error) {
	if unix.Getpid() == 1 {
		return nil, fmt.Errorf("%w: this process is pid 1 of its pid namespace, which the kernel's timer cannot kill; "+
			"start it below an init (docker run --init)", ErrCannotStop)
	}
	ev := sigevent{signo: int32(unix.SIGKILL), notify: sigevThreadID, thread: int32(unix.Gettid())}
	d := new(deadman)
	_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ev)), uintptr(unsafe.Pointer(&d.timer)))
	if errno != 0 {
		return nil, fmt.Errorf("%w: timer_create: %v", ErrCannotStop, errno)
	}
	after := unix.ItimerSpec{Value: unix.NsecToTimespec(limit.Nanoseconds())}
	if _, _, errno := unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(d.timer), 0, uintptr(unsafe.Pointer(&after)), 0, 0, 0); errno != 0 {
		d.disarm()
		return nil, fmt.Errorf("%w: timer_settime: %v", ErrCannotStop, errno)
	}
	return d, nil
}

// disarm deletes the timer. When it has returned, the timer does not fire any more.
func (d *deadman) disarm() { unix.Syscall(unix.SYS_TIMER_DELETE, uintptr(d.timer), 0, 0) }

// seize begins to trace a thread and asks it to stop (PTRACE_SEIZE, PTRACE_INTERRUPT). ESRCH: it has ended.
func (d *deadman) seize(tid int) error {
	if err := unix.PtraceSeize(tid); err != nil {
		return err
	}
	return interrupt(tid)
}

// interrupt asks a thread that is traced to stop.
func interrupt(tid int) error {
	err := unix.PtraceInterrupt(tid)
	if errors.Is(err, unix.ESRCH) {
		return nil // it is ending: waiting for it shows that
	}
	return err
}
