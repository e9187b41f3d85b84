package cgroup

import "time"

// wakeGap is the least time between two wake-ups by one sensor. Under pressure
// the kernel may report without end, and a reader that follows each report
// takes the processor from those who are to be helped.
const wakeGap = 100 * time.Millisecond

// A pacer passes hints on, each sensor's at most once in wakeGap. The last hint
// of a burst is delayed, never lost: it is the one that tells of the newest
// state. It belongs to one goroutine.
type pacer struct {
	wake    func(sensor string)
	last    map[string]time.Time
	pending map[string]bool
	timer   *time.Timer // fires when something pending is due
}

func newPacer(wake func(string)) *pacer {
	timer := time.NewTimer(0)
	timer.Stop()
	return &pacer{
		wake:    wake,
		last:    make(map[string]time.Time),
		pending: make(map[string]bool),
		timer:   timer,
	}
}

func (p *pacer) hint(sensor string) {
	now := time.Now()
	if last, woken := p.last[sensor]; woken && now.Sub(last) < wakeGap {
		if len(p.pending) == 0 {
			p.timer.Reset(wakeGap - now.Sub(last))
		}
		p.pending[sensor] = true
		return
	}
	delete(p.pending, sensor)
	p.last[sensor] = now
	p.wake(sensor)
}

// flush is to be called when the timer fires.
func (p *pacer) flush() {
	due := p.pending
	p.pending = make(map[string]bool)
	for sensor := range due {
		p.hint(sensor) // waits once more if the timer was another sensor's
	}
}
