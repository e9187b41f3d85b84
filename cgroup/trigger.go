package cgroup

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errTriggerLost means that the kernel has dropped the trigger: the group was removed, or
// measuring its pressure was turned off.
var errTriggerLost = errors.New("the kernel dropped the pressure trigger")

// hitGap is the minimum time between two hits. Under pressure the kernel may report
// continuously. Reacting to each report would take processor time from the group that is
// short of memory.
const hitGap = 100 * time.Millisecond

// A trigger is a PSI trigger: the kernel reports when a group's stall exceeds a
// threshold, at most once in each window.
type trigger struct {
	fd   int // memory.pressure; the trigger lives as long as it is open
	stop int // an eventfd; readable = run must end

	hits chan struct{} // holds one hit until it is received
	lost chan error    // receives why the trigger ended before close, if it did; then closed
}

// openTrigger makes the kernel report each window with a stall of some, and waits for
// reports. The caller must close the trigger.
//
// It does not open the file with package os, whose poller would add it to an epoll set:
// polling a trigger consumes its event.
func (g *Group) openTrigger(some, window time.Duration) (*trigger, error) {
	dir, err := g.root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("opening cgroup %s: %w", g.path, g.explain(".", err))
	}
	defer dir.Close()
	const flags = unix.O_RDWR | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), pressureFile, flags, 0)
	if err != nil {
		err = required(g.explain(pressureFile, err))
		return nil, fmt.Errorf("opening %s of cgroup %s to write: %w", pressureFile, g.path, err)
	}
	// The final zero byte is part of the kernel's format.
	text := fmt.Sprintf("some %d %d\x00", some.Microseconds(), window.Microseconds())
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		unix.Close(fd)
		err = g.explain(pressureFile, required(err))
		return nil, fmt.Errorf("arming %s of cgroup %s: writing a trigger of %v in %v: %w",
			pressureFile, g.path, some, window, err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("creating an eventfd: %w", err)
	}
	return startTrigger(fd, stop), nil
}

func startTrigger(fd, stop int) *trigger {
	t := &trigger{fd: fd, stop: stop, hits: make(chan struct{}, 1), lost: make(chan error, 1)}
	go func() {
		defer close(t.lost)
		if err := t.run(); err != nil {
			t.lost <- err
		}
	}()
	return t
}

// close stops waiting and removes the trigger.
func (t *trigger) close() {
	unix.Write(t.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // cannot fail: the only write
	for range t.lost {
	}
	unix.Close(t.fd)
	unix.Close(t.stop)
}

// required adds to the kernel's rejection of a trigger what the kernel requires.
func required(err error) error {
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w (a window must be at most 10s, on some kernels at least 500ms, "+
			"without CAP_SYS_RESOURCE a multiple of 2s, and never shorter than the stall)", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (kernels before 6.5 require CAP_SYS_RESOURCE for a trigger)", err)
	}
	return err
}

// run waits until it is stopped (nil) or the trigger is lost.
func (t *trigger) run() error {
	for {
		set := []unix.PollFd{
			{Fd: int32(t.stop), Events: unix.POLLIN},
			{Fd: int32(t.fd), Events: unix.POLLPRI},
		}
		_, err := unix.Poll(set, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("poll", err)
		case set[0].Revents != 0:
			return nil
		case set[1].Revents&(unix.POLLERR|unix.POLLNVAL) != 0:
			return errTriggerLost
		}
		select {
		case t.hits <- struct{}{}:
		default: // the previous hit was not received yet, and one is enough
		}
		// Wait for stop only, so that the loop does not spin whatever the kernel reports.
		// The kernel keeps an event meanwhile.
		unix.Poll(set[:1], int(hitGap.Milliseconds()))
	}
}
