// Package top draws the live view of hapressure top.
package top

import (
	"context"
	"time"

	"github.com/gdamore/tcell/v2"

	"hapressure/controller/status"
)

// Keys describes the keys, indented as a block of code in Markdown.
const Keys = `    Tab, left, right   another target
    up, down           choose a worker
    g c n a            sort by generation, cache, number of connections, age
    d                  dry run: what a purge of the chosen worker would free
    p                  purge its TLS session cache, after confirmation
    ?                  show the keys
    q                  quit`

// askTime bounds one request. The daemon answers within 10 s.
const askTime = 15 * time.Second

type answer struct {
	status status.Status
	note   string // what an inspection could not read
	err    error
}

// Run shows the model until q or the end of ctx. Requests and purges run in goroutines,
// so that no key waits for them.
func (m *Model) Run(ctx context.Context, s tcell.Screen) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, answers, notes := make(chan tcell.Event), make(chan answer), make(chan string, 1)
	go s.ChannelEvents(events, ctx.Done())
	go m.poll(ctx, answers)
	tick := time.NewTicker(time.Second) // the ages on the screen grow
	defer tick.Stop()
	for {
		m.draw(s, time.Now())
		s.Show()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
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

// Model is what hapressure top knows and shows. Keys and answers change it, draw shows
// it.
type Model struct {
	Ask   func(context.Context) (s status.Status, note string, err error)
	Purge func(ctx context.Context, target string, pid int, dryRun bool) (status.Purge, error)
	ASCII bool

	status status.Status
	heard  time.Time // when status arrived; zero: never
	err    error     // of the last question
	unread string    // what could not be read for status
	target string    // the one shown
	pid    int       // of the worker chosen
	at     int       // its row
	order  rune      // the key of what the workers are sorted by

	asking     func(context.Context) string // what y does
	note       string                       // a question, or what came of an action
	busy       bool                         // an action is under way
	help, quit bool
}
