// Package top draws the live view of hapressure top.
package top

import (
	"context"
	"time"

	"github.com/gdamore/tcell/v2"

	"hapressure/cmd/hapressure/internal/playback"
)

// askTime bounds one request. The daemon answers within 10 s.
const askTime = 15 * time.Second

// A recording moves several times a second while it is played. Otherwise only the ages on
// the screen grow.
const (
	livePeriod   = time.Second
	replayPeriod = 200 * time.Millisecond
)

// Run shows the model until q or the end of ctx, or until Load fails. Requests, purges
// and Load run in goroutines, so that no key waits for them.
func (m *Model) Run(ctx context.Context, s tcell.Screen) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, answers, notes := make(chan tcell.Event), make(chan answer), make(chan string, 1)
	progress, loads := make(chan string), make(chan loaded, 1)
	go s.ChannelEvents(events, ctx.Done())
	period := livePeriod
	if m.Load != nil {
		period, m.loading = replayPeriod, "recordings..."
		go m.load(ctx, progress, loads)
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
			return nil
		case <-tick.C:
			m.pass(period)
		case a := <-answers:
			m.learn(a, time.Now())
		case m.loading = <-progress:
		case l := <-loads:
			if l.err != nil {
				return l.err
			}
			m.begin(l.recording)
		case m.note = <-notes:
			m.busy = false
		case e := <-events:
			switch e := e.(type) {
			case nil: // the terminal was closed
				return nil
			case *tcell.EventResize:
				s.Sync()
			case *tcell.EventKey:
				do := m.key(e)
				if m.quit {
					return nil
				}
				if do != nil {
					go func() { notes <- do(ctx) }()
				}
			}
		}
	}
}

// loaded is what Load returned.
type loaded struct {
	recording *playback.Recording
	err       error
}

func (m *Model) load(ctx context.Context, progress chan<- string, loads chan<- loaded) {
	r, err := m.Load(ctx, func(text string) {
		select {
		case progress <- text:
		case <-ctx.Done():
		}
	})
	loads <- loaded{r, err}
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
