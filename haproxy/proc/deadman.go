package proc

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrCannotStop means that the threads cannot be stopped: another process traces them,
// ptrace(2) is forbidden, or one is stuck in the kernel.
var ErrCannotStop = errors.New("its threads cannot be stopped")

// A deadman is a dead man's switch: a kernel timer that kills this process after some
// time unless it is disarmed before. Threads are seized through it, so no thread is ever
// held without one.
//
// SIGKILL also ends a process that is stopped (SIGSTOP) or in a frozen cgroup of version
// 2, and the kernel detaches the tracees of a dead tracer. The signal is for the thread
// that armed the switch, which is the one that traces. Once that thread has ended it
// holds nothing, and the timer has no target (kernel/signal.c, send_sigqueue;
// kernel/time/posix-timers.c). A child does not inherit the timer, and execve(2) deletes
// it (timer_create(2)).
type deadman struct{ timer int32 }

// sigevent is struct sigevent for a signal to one thread (sigevent(3type),
// SIGEV_THREAD_ID).
type sigevent struct {
	value         uint64
	signo, notify int32
	tid           int32
	_             [44]byte
}

const sigevThreadID = 4

// armDeadman arms a switch that fires after limit, for the calling thread, which must be
// locked to its goroutine.
//
// The clock stands still while the machine is suspended (CLOCK_MONOTONIC), as the traced
// process does: a hold that a suspend interrupts is not too long.
func armDeadman(limit time.Duration) (*deadman, error) {
	if unix.Getpid() == 1 {
		return nil, fmt.Errorf("%w: this process is pid 1 of its pid namespace, "+
			"which the kernel's timer cannot kill; start it below an init (docker run --init)",
			ErrCannotStop)
	}
	ev := sigevent{signo: int32(unix.SIGKILL), notify: sigevThreadID, tid: int32(unix.Gettid())}
	d := new(deadman)
	_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC,
		uintptr(unsafe.Pointer(&ev)), uintptr(unsafe.Pointer(&d.timer)))
	if errno != 0 {
		return nil, fmt.Errorf("%w: timer_create: %v", ErrCannotStop, errno)
	}
	after := unix.ItimerSpec{Value: unix.NsecToTimespec(limit.Nanoseconds())}
	_, _, errno = unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(d.timer), 0,
		uintptr(unsafe.Pointer(&after)), 0, 0, 0)
	if errno != 0 {
		d.disarm()
		return nil, fmt.Errorf("%w: timer_settime: %v", ErrCannotStop, errno)
	}
	return d, nil
}

// disarm deletes the timer. After it returns, the timer does not fire.
func (d *deadman) disarm() { unix.Syscall(unix.SYS_TIMER_DELETE, uintptr(d.timer), 0, 0) }

// seize starts to trace a thread and asks it to stop (PTRACE_SEIZE, PTRACE_INTERRUPT).
// ESRCH: it has ended.
func (d *deadman) seize(tid int) error {
	if err := unix.PtraceSeize(tid); err != nil {
		return err
	}
	return interrupt(tid)
}

// interrupt asks a traced thread to stop.
func interrupt(tid int) error {
	err := unix.PtraceInterrupt(tid)
	if errors.Is(err, unix.ESRCH) {
		return nil // it is ending, and wait4(2) shows that
	}
	return err
}
