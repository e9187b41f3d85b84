package cgroup

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errTriggerLost says that the kernel has dropped the trigger: the group was removed, or its pressure figures were turned off.
var errTriggerLost = errors.New("the kernel dropped the pressure trigger")

// hitGap is the least time between two hits. Under pressure the kernel may report without end, and a reader that follows each report
// takes the processor from those who are to be helped.
const hitGap = 100 * time.Millisecond

// A trigger is a PSI trigger: the kernel itself watches a group's stall and reports when it passes a threshold, at most once a window.
type trigger struct {
	fd   int // memory.pressure; the trigger lives as long as it is open
	stop int // eventfd; readable when run is to end

	hits chan struct{} // holds one hit while nobody looks
	lost chan error    // gets why the trigger ended before close, if it did; then closed
}

// openTrigger asks the kernel to report a stall of some within any window, and begins to wait for it. The caller closes it.
//
// The file is opened without the os package, whose poller would add it to its own epoll set: polling a trigger takes its event away, so
// the hint would be lost to it.
func (g *Group) openTrigger(some, window time.Duration) (*trigger, error) {
	dir, err := g.root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("opening cgroup %s: %w", g.path, g.explain(".", err))
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), pressureFile, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s of cgroup %s to write: %w", pressureFile, g.path, allowed(g.explain(pressureFile, err)))
	}
	// The final zero byte is part of the kernel's format.
	text := fmt.Sprintf("some %d %d\x00", some.Microseconds(), window.Microseconds())
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("arming %s of cgroup %s: writing a trigger of %v in %v: %w", pressureFile, g.path, some, window,
			g.explain(pressureFile, allowed(err)))
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("making an eventfd: %w", err)
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

// close ends the waiting at once and gives the trigger back to the kernel.
func (t *trigger) close() {
	unix.Write(t.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // cannot fail: nobody else adds to the counter
	for range t.lost {
	}
	unix.Close(t.fd)
	unix.Close(t.stop)
}

// allowed adds to the kernel's bare refusal of a trigger what it takes one from.
func allowed(err error) error {
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w (a window is at most 10s, to some kernels at least 500ms, without CAP_SYS_RESOURCE a multiple of 2s, and never shorter than the stall)", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (kernels before 6.5 want CAP_SYS_RESOURCE for a trigger)", err)
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
		default: // the last hit has not been taken yet, and one tells it all
		}
		// Rest, but for the stop: whatever the kernel may report, this loop does not spin. An event in the meantime is kept by the kernel.
		unix.Poll(set[:1], int(hitGap.Milliseconds()))
	}
}
