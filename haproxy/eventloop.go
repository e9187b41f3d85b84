package haproxy

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Whether a worker runs its event loop.
//
// From 3.1 on a reload's worker exists while it still reads its configuration. It may have bound its listeners, or have inherited
// some, and still fail to start. HAProxy waits for events in epoll_wait(2) only once it has started (src/haproxy.c,
// run_poll_loop), so a thread that was seen there proves that the start is over. `busy-polling` never waits there, and `noepoll`
// waits elsewhere: with either no worker is ever proven to be current.

// epollWait are the numbers of epoll_wait, epoll_pwait and epoll_pwait2 by architecture (syscall tables of the kernel).
var epollWait = map[string][]int{"amd64": {232, 281, 441}, "arm64": {22, 441}}

// loopThreads bounds how many threads are examined. They are alike: any of them that waits is enough.
const loopThreads = 256

// inEventLoop reports whether a thread of the process waits for events at this moment (proc_pid_syscall(5)).
func (p *Process) inEventLoop() (bool, error) {
	tids, err := p.threads()
	if err != nil {
		return false, err
	}
	for _, tid := range tids[:min(len(tids), loopThreads)] {
		waits, err := p.threadWaitsForEvents(tid)
		if errors.Is(err, ErrGone) {
			continue // this thread has ended
		}
		if waits || err != nil {
			return waits, err
		}
	}
	return false, nil
}

// threadWaitsForEvents reports whether that thread waits for events at this moment. ErrGone: it has ended.
func (p *Process) threadWaitsForEvents(tid int) (bool, error) {
	b, err := readProcFile(p.procfs, p.PID, fmt.Sprintf("task/%d/syscall", tid))
	if errors.Is(err, ErrGone) || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return false, ErrGone
	}
	if err != nil {
		return false, fmt.Errorf("reading what thread %d of pid %d waits for: %w", tid, p.PID, err)
	}
	return waitsForEvents(string(b)), nil
}

// waitsForEvents reports whether a /proc/PID/task/TID/syscall says that the thread sleeps in epoll_wait(2) or one of its kind.
// The file begins with the number of the system call, or is "running".
//
//	232 0x4 0x7f5d2c000b60 0xc8 0x3e8 0x0 0x0 0x7ffd5f5a8a80 0x7f5d3a2c1e26
func waitsForEvents(syscall string) bool {
	first, _, _ := strings.Cut(strings.TrimSpace(syscall), " ")
	number, err := strconv.Atoi(first)
	return err == nil && slices.Contains(epollWait[runtime.GOARCH], number)
}
