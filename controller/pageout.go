package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hapressure/cgroup"
	"hapressure/haproxy"
	"hapressure/policy"
)

// errNoSwapRoom means that a page-out could move nothing, or nothing more.
var errNoSwapRoom = errors.New("no swap, or no room in it")

// pageOut moves memory of a worker to swap, as far as it costs others little.
func (a *actions) pageOut(ctx context.Context, p *haproxy.Stopping, pace policy.Paging) result {
	c := costs{group: a.group, procfs: a.procfs, most: pace.Stall}
	err := c.begin()
	var out haproxy.PagedOut
	if err == nil {
		out, err = p.PageOut(ctx, haproxy.PageOutPace{PerSecond: pace.PerSecond, Busy: pace.Busy},
			c.check)
	}
	moved := fmt.Sprintf("moved %s of %s to swap", mib(out.Freed()), mib(out.Before))
	r := result{Result: policy.Done, freed: out.Freed(), more: out.More}
	switch {
	case errors.Is(err, haproxy.ErrGone):
		r.what = moved + ", then it ended by itself"
	case err != nil:
		r.Result = resultOf(err)
		if errors.Is(err, cgroup.ErrPSIOff) { // it does not come back
			r.Result = policy.Refused
		}
		r.what, r.why = moved+" and stopped", err.Error()
	case out.More:
		r.what = moved + ", and continues"
	default:
		r.what = moved
	}
	return r
}

// costWindow is the time over which stalls during a page-out are compared.
const costWindow = time.Second

// costs decides whether a page-out may continue: while there is room in swap, and while
// tasks of the group and of the host do not wait for memory for longer than before.
type costs struct {
	group  *cgroup.Group
	procfs string
	most   float64 // percent of costWindow that tasks may wait longer than before

	since time.Time
	stall [2]time.Duration // in total at that time, of the group and of the host
	began bool             // the window before the page-out is over
	usual [2]time.Duration // then, the stall in it
}

// stalls names them in messages.
var stalls = [2]string{"the target", "the host"}

// begin begins the window before the page-out.
func (c *costs) begin() (err error) {
	c.since, c.stall, err = c.read()
	return err
}

// check returns an error if the page-out may not continue. The first call ends the window
// before the page-out.
func (c *costs) check() error {
	host, err := cgroup.Host(c.procfs)
	if err != nil {
		return err
	}
	switch room := swapRoom(c.group, host); {
	case room.Absent != "":
		return fmt.Errorf("%w: %s", errNoSwapRoom, room.Absent)
	case room.Value == 0:
		return errNoSwapRoom
	}
	now, total, err := c.read()
	if err != nil {
		return err
	}
	for i := range total {
		stalled := total[i] - c.stall[i]
		allowed := c.usual[i] + time.Duration(c.most/100*float64(costWindow))
		if !c.began {
			c.usual[i] = stalled
		} else if stalled > allowed {
			return fmt.Errorf("tasks of %s waited %v for memory within %v, and %v before it began",
				stalls[i], stalled.Round(time.Millisecond), costWindow,
				c.usual[i].Round(time.Millisecond))
		}
	}
	if !c.began || now.Sub(c.since) >= costWindow {
		c.began, c.since, c.stall = true, now, total
	}
	return nil
}

// read returns the total stalls of the group and of the host.
func (c *costs) read() (now time.Time, total [2]time.Duration, err error) {
	group, gerr := c.group.Pressure()
	host, herr := cgroup.HostPressure(c.procfs)
	return time.Now(), [2]time.Duration{group.Some.Total, host.Some.Total}, errors.Join(gerr, herr)
}
