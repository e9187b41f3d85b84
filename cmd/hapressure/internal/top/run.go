// Package top draws the live view of hapressure top.
package top

import (
	"context"
	"time"

	"github.com/gdamore/tcell/v2"
)

// askTime bounds one request. The daemon answers within 10 s.
const askTime = 15 * time.Second

// A recording moves several times a second while it is played. Otherwise only the ages on
// the screen grow.
const (
	livePeriod   = time.Second
	replayPeriod = 200 * time.Millisecond
)

// Run shows the model until q or the end of ctx. Requests and purges run in goroutines,
// so that no key waits for them.
func (m *Model) Run(ctx context.Context, s tcell.Screen) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, answers, notes := make(chan tcell.Event), make(chan answer), make(chan string, 1)
	go s.ChannelEvents(events, ctx.Done())
	period := livePeriod
	if m.replays() {
		m.begin()
		period = replayPeriod
	} else {
		go m.poll(ctx, answers)
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		m.draw(s, time.Now())
		s.Show()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.pass(period)
		case a := <-answers:
			m.learn(a, time.Now())
		case m.note = <-notes:
			m.busy = false
		case e := <-events:
			switch e := e.(type) {
			case nil: // the terminal was closed
				return
			case *tcell.EventResize:
				s.Sync()
			case *tcell.EventKey:
				do := m.key(e)
				if m.quit {
					return
				}
				if do != nil {
					go func() { notes <- do(ctx) }()
				}
			}
		}
	}
}

func (m *Model) poll(ctx context.Context, answers chan<- answer) {
	for {
		asking, cancel := context.WithTimeout(ctx, askTime)
		s, note, err := m.Ask(asking)
		cancel()
		select {
		case <-ctx.Done():
			return
		case answers <- answer{s, note, err}:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}
