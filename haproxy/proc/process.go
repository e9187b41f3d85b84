// Package proc examines and changes one process that is not this process's own: through a
// pidfd, so that nothing reaches another process that was given the same pid, and through
// /proc.
//
// It does not know what the process runs. Each read is bounded in bytes, number or time,
// because a process can make its files in /proc as large and as slow as it likes.
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrOtherProgram means that the process has executed another program than expected.
var ErrOtherProgram = errors.New("process runs another program")

// ID names a process for ever: a pid can be used again, a pid with its start time cannot.
type ID struct {
	PID   int    `json:"PID"`
	Start uint64 `json:"Start"` // field 22 of /proc/PID/stat, in clock ticks since boot
}

// Process is a running process that a pidfd pins.
type Process struct {
	ID
	procfs string
	pidfd  int
}

// Open pins the process named by id. A zero id.Start accepts any start time. ErrGone: the
// process has ended, or its pid is in use again.
func Open(procfs string, id ID) (*Process, error) {
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("opening pid %d: %w", id.PID, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("opening a pidfd of pid %d: %w", id.PID, err)
	}
	p := &Process{ID: id, procfs: procfs, pidfd: fd}
	// If the process is alive after its start time was read, the start time is its own
	// and not that of a successor.
	st, err := ReadStat(procfs, id.PID)
	if err == nil && !p.Alive() {
		err = ErrGone
	}
	if err == nil && id.Start != 0 && st.Start != id.Start {
		err = fmt.Errorf("%w: started at tick %d, not %d", ErrGone, st.Start, id.Start)
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("opening pid %d: %w", id.PID, err)
	}
	p.Start = st.Start
	return p, nil
}

// Close releases the pidfd. The process continues.
func (p *Process) Close() error { return unix.Close(p.pidfd) }

// Alive reports whether the process has not ended. A zombie has ended.
func (p *Process) Alive() bool {
	fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n == 0
	}
}

// CheckProgram returns ErrOtherProgram unless the process runs the program with this
// path, as Program returns it. A pid and a start time outlive execve(2).
func (p *Process) CheckProgram(program string) error {
	now, err := Program(p.procfs, p.PID)
	if err == nil && now != program {
		err = fmt.Errorf("%w: %.100q", ErrOtherProgram, now)
	}
	if !p.Alive() {
		return ErrGone
	}
	return err
}

// Signal sends sig to exactly this process if it runs the program with this path
// (pidfd_send_signal(2)). No process runs a program without a path.
func (p *Process) Signal(sig unix.Signal, program string) error {
	err := p.CheckProgram(program)
	if err == nil {
		err = unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
	}
	if errors.Is(err, unix.ESRCH) {
		err = ErrGone
	}
	if err != nil {
		return fmt.Errorf("sending %s to pid %d: %w", unix.SignalName(sig), p.PID, err)
	}
	return nil
}

// WaitExit waits until the process has ended, for at most d, and reports whether it has
// ended. It returns the error of ctx if ctx ends first.
func (p *Process) WaitExit(ctx context.Context, d time.Duration) (ended bool, err error) {
	short, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	fd, err := unix.FcntlInt(uintptr(p.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("waiting for pid %d: %w", p.PID, err)
	}
	// The pidfd does not block, so Go's runtime waits for it as for a socket.
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	defer context.AfterFunc(short, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	conn, err := f.SyscallConn()
	if err == nil {
		err = conn.Read(func(uintptr) bool { return !p.Alive() })
	}
	switch {
	case err == nil || !p.Alive():
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case short.Err() != nil:
		return false, nil
	}
	return false, fmt.Errorf("waiting for pid %d: %w", p.PID, err)
}

// Path returns the path of a file of /proc/PID.
func (p *Process) Path(name string) string {
	return filepath.Join(p.procfs, strconv.Itoa(p.PID), name)
}

// ReadFile reads a file of /proc/PID. See the function ReadFile.
func (p *Process) ReadFile(name string) ([]byte, error) { return ReadFile(p.procfs, p.PID, name) }

// Stat reads /proc/PID/stat.
func (p *Process) Stat() (Stat, error) { return ReadStat(p.procfs, p.PID) }

// Status reads /proc/PID/status.
func (p *Process) Status() (Status, error) { return ReadStatus(p.procfs, p.PID) }

// CopyDescriptor copies a descriptor of the process (pidfd_getfd(2)). The error of one
// that is not open is EBADF.
//
// A copy shares its file with the process. Close it within microseconds.
func (p *Process) CopyDescriptor(number int) (int, error) {
	fd, err := unix.PidfdGetfd(p.pidfd, number, 0)
	if err != nil {
		return -1, fmt.Errorf("copying descriptor %d of pid %d: %w", number, p.PID, err)
	}
	return fd, nil
}

// Advise gives the kernel advice on n bytes of the process's memory from the address
// start (process_madvise(2), Linux 5.10). It needs CAP_SYS_NICE and ptrace access. Errors
// are those of the call.
func (p *Process) Advise(start, n uint64, advice int) error {
	iov := struct{ base, len uint64 }{start, n} // of the process's address space
	_, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(p.pidfd),
		uintptr(unsafe.Pointer(&iov)), 1, uintptr(advice), 0, 0)
	switch errno {
	case 0:
		return nil
	case unix.ESRCH:
		return ErrGone
	}
	return errno
}
