package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Threads lists the threads of the process.
func (p *Process) Threads() ([]int, error) {
	d, err := p.openTask()
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err := goneError(err); err != nil {
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

// openTask opens the directory of the process's threads, /proc/PID/task.
func (p *Process) openTask() (*os.File, error) {
	d, err := os.Open(p.Path("task"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("listing the threads of pid %d: %w", p.PID, err)
	}
	return d, nil
}

// OnThread runs fn on a thread of its own that ends with fn. The thread has the niceness
// nice (setpriority(2)) if this process may set it.
func OnThread(nice int, fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Without an unlock the thread ends when the goroutine returns.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread of this process does not end with its goroutine. While
			// this goroutine keeps it, fn gets another thread.
			OnThread(nice, fn)
			runtime.UnlockOSThread()
			return
		}
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, nice)
		fn()
	}()
	<-done
}
