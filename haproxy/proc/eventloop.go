package proc

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// epollWait are the numbers of epoll_wait, epoll_pwait and epoll_pwait2 by architecture
// (syscall tables of the kernel).
var epollWait = map[string][]int{"amd64": {232, 281, 441}, "arm64": {22, 441}}

// loopThreads bounds how many threads are examined. One that waits is enough.
const loopThreads = 256

// InEventLoop reports whether a thread of the process waits for events at this moment.
func (p *Process) InEventLoop() (bool, error) {
	tids, err := p.Threads()
	if err != nil {
		return false, err
	}
	for _, tid := range tids[:min(len(tids), loopThreads)] {
		waits, err := p.WaitsForEvents(tid)
		if errors.Is(err, ErrGone) {
			continue // this thread has ended
		}
		if waits || err != nil {
			return waits, err
		}
	}
	return false, nil
}

// WaitsForEvents reports whether a thread waits for events at this moment
// (proc_pid_syscall(5)). ErrGone: the thread has ended.
func (p *Process) WaitsForEvents(tid int) (bool, error) {
	b, err := p.ReadFile(fmt.Sprintf("task/%d/syscall", tid))
	if errors.Is(err, ErrGone) {
		return false, ErrGone
	}
	if err != nil {
		return false, fmt.Errorf("reading syscall of thread %d of pid %d: %w", tid, p.PID, err)
	}
	return waitsForEvents(string(b)), nil
}

// waitsForEvents reports whether a /proc/PID/task/TID/syscall names epoll_wait(2) or one
// of its kind. The file begins with the number of the system call, or is "running".
//
//	232 0x4 0x7f5d2c000b60 0xc8 0x3e8 0x0 0x0 0x7ffd5f5a8a80 0x7f5d3a2c1e26
func waitsForEvents(syscall string) bool {
	first, _, _ := strings.Cut(strings.TrimSpace(syscall), " ")
	number, err := strconv.Atoi(first)
	return err == nil && slices.Contains(epollWait[runtime.GOARCH], number)
}
