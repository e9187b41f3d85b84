package haproxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// PageOutPace bounds what a page-out may cost.
type PageOutPace struct {
	PerSecond uint64  // bytes moved to swap, at most
	Busy      float64 // percent of one CPU that a worker may use at most
}

// PagedOut is what a page-out did. The sizes are of private memory in RAM.
type PagedOut struct {
	Given
	More bool // its time was over before all was moved
}

const (
	// busyTime is how long the CPU time of a worker is measured. Its unit is 10 ms, so a
	// shorter time cannot show 1 %.
	busyTime = time.Second

	// pageOutSearch bounds the search for memory that is not in swap yet. A process can
	// map as much that it never touched as it likes.
	pageOutSearch = 30 * time.Second
)

// pageOutTime bounds one page-out. What is left follows with a proof of its own, if it is
// still wanted. Tests change it.
var pageOutTime = 10 * time.Second

// ErrInUse means that a worker was not paged out, or not further, because it used the
// CPU: it would read its memory back at once.
var ErrInUse = errors.New("worker is busy")

// errTimeOver ends a page-out whose time is over.
var errTimeOver = errors.New("time is over")

// PageOut moves the worker's private memory to swap (MADV_PAGEOUT): its heap and stacks,
// but no shared memory, such as its caches. Nothing is lost: what the worker still uses
// returns when it is touched, each page at the cost of reading it.
//
// It first watches the worker for busyTime, and pages out nothing of one that is busy. It
// ends when the worker becomes busy, and with the error of may, which it calls before the
// first piece and after each.
func (s *Stopping) PageOut(
	ctx context.Context, pace PageOutPace, may func() error,
) (PagedOut, error) {
	var out PagedOut
	before, err := s.p.Status()
	if err != nil {
		return out, err
	}
	out.Before, out.After = before.RSSAnon, before.RSSAnon
	use, err := s.watchCPU(pace.Busy)
	if err == nil {
		err = s.pause(ctx, busyTime)
	}
	if err == nil {
		err = errors.Join(use.check(), may())
	}
	if err != nil {
		return out, err
	}
	searched, began := time.Now(), time.Now()
	moved, held := uint64(0), before.RSSAnon
	err = s.advise(ctx, unix.MADV_PAGEOUT, func() error {
		now, err := s.p.Status()
		if err != nil {
			return err
		}
		if moved == 0 {
			began = time.Now() // the search for what is not in swap yet may take longer
		}
		moved += held - min(held, now.RSSAnon)
		held = now.RSSAnon
		due := began.Add(time.Duration(float64(moved) / float64(pace.PerSecond) * 1e9))
		if err := s.pause(ctx, time.Until(due)); err != nil {
			return err
		}
		over := moved > 0 && time.Since(began) > pageOutTime
		if over || moved == 0 && time.Since(searched) > pageOutSearch {
			return errTimeOver
		}
		return errors.Join(use.check(), may())
	})
	out.After = held
	if errors.Is(err, errTimeOver) {
		out.More, err = moved > 0, nil
	}
	return out, err
}

// cpuWatch watches how much CPU time a worker uses.
type cpuWatch struct {
	s     *Stopping
	most  float64 // percent
	since time.Time
	used  time.Duration // until then, from its start
}

func (s *Stopping) watchCPU(most float64) (*cpuWatch, error) {
	st, err := s.p.Stat()
	return &cpuWatch{s, most, time.Now(), st.CPU}, err
}

// check returns ErrInUse if the worker was busy since busyTime ago, or for longer.
func (c *cpuWatch) check() error {
	passed := time.Since(c.since)
	if passed < busyTime {
		return nil
	}
	st, err := c.s.p.Stat()
	if err != nil {
		return err
	}
	percent := 100 * (st.CPU - c.used).Seconds() / passed.Seconds()
	if percent > c.most {
		return fmt.Errorf("%w: it used %.0f%% of a CPU", ErrInUse, percent)
	}
	c.since, c.used = time.Now(), st.CPU
	return nil
}
