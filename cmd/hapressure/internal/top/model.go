package top

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gdamore/tcell/v2"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
)

// Keys describes the keys, indented as a block of code in Markdown.
const Keys = `    Tab, left, right   another target
    up, down           choose a worker
    g c n a            sort by generation, cache, number of connections, age
    m                  memory of the workers by kind, or their states
    d                  dry run: what a purge of the chosen worker would free
    p                  purge its TLS session cache, after confirmation
    ?                  show the keys
    q                  quit`

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
	kinds  bool      // the workers' table shows memory by kind

	asking     func(context.Context) string // what y does
	note       string                       // a question, or what came of an action
	busy       bool                         // an action is under way
	help, quit bool
}

type answer struct {
	status status.Status
	note   string // what an inspection could not read
	err    error
}

// learn takes an answer. After an error the last good answer stays on the screen.
func (m *Model) learn(a answer, now time.Time) {
	if m.err = a.err; a.err != nil {
		return
	}
	if a.status.Daemon == nil { // an inspection has no history
		for i := range a.status.Targets {
			t := &a.status.Targets[i]
			if old := slices.IndexFunc(m.status.Targets,
				func(o status.Target) bool { return o.Name == t.Name }); old >= 0 {
				t.History = append(m.status.Targets[old].History, t.History...)
				t.History = t.History[max(0, len(t.History)-int(charted/time.Second)):]
			}
		}
	}
	m.status, m.unread, m.heard = a.status, a.note, now
	m.choose(0)
}

// shown returns the index of the target on the screen, 0 if that target has gone.
func (m *Model) shown() int {
	return max(0, slices.IndexFunc(m.status.Targets,
		func(t status.Target) bool { return t.Name == m.target }))
}

// turn shows the target that is steps away.
func (m *Model) turn(steps int) {
	if n := len(m.status.Targets); n > 0 {
		m.target, m.pid, m.at = m.status.Targets[(m.shown()+steps+n)%n].Name, 0, 0
		m.choose(0)
	}
}

// workers returns the workers of the target on the screen in the chosen order.
func (m *Model) workers() []status.Worker {
	var all []status.Worker
	for _, master := range m.status.Targets[m.shown()].Masters {
		all = append(all, master.Workers...)
	}
	slices.SortStableFunc(all, func(a, b status.Worker) int {
		switch m.order {
		case 'c':
			return descending(a.Cache, b.Cache)
		case 'n':
			return descending(a.Connections, b.Connections)
		case 'a':
			return cmp.Compare(b.Age, a.Age)
		}
		return cmp.Compare(a.Generation, b.Generation)
	})
	return all
}

// descending sorts the greatest first, and unknown values last.
func descending[T cmp.Ordered](a, b *T) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Compare(*b, *a)
}

// choose chooses the worker that is below rows under the chosen one. If that one has
// gone, its row counts.
func (m *Model) choose(below int) {
	if len(m.status.Targets) == 0 {
		return
	}
	m.target = m.status.Targets[m.shown()].Name
	rows := m.workers()
	if at := slices.IndexFunc(rows, func(w status.Worker) bool { return w.PID == m.pid }); at >= 0 {
		m.at = at
	}
	if m.at = max(0, min(m.at+below, len(rows)-1)); len(rows) > 0 {
		m.pid = rows[m.at].PID
	}
}

// key handles a key. The caller runs do in a goroutine; it returns the next note.
func (m *Model) key(e *tcell.EventKey) (do func(context.Context) string) {
	if e.Key() == tcell.KeyCtrlC {
		m.quit = true
		return nil
	}
	if m.asking != nil {
		if m.note = "Not purged."; e.Rune() == 'y' {
			do, m.note, m.busy = m.asking, "Purging...", true
		}
		m.asking = nil
		return do
	}
	if m.help {
		m.help = false
		return nil
	}
	switch e.Key() {
	case tcell.KeyUp:
		m.choose(-1)
	case tcell.KeyDown:
		m.choose(1)
	case tcell.KeyPgUp:
		m.choose(-10)
	case tcell.KeyPgDn:
		m.choose(10)
	case tcell.KeyTab, tcell.KeyRight:
		m.turn(1)
	case tcell.KeyBacktab, tcell.KeyLeft:
		m.turn(-1)
	case tcell.KeyRune:
		return m.letter(e.Rune())
	}
	return nil
}

func (m *Model) letter(r rune) (do func(context.Context) string) {
	switch r {
	case 'q':
		m.quit = true
	case '?':
		m.help = true
	case 'g', 'c', 'n', 'a':
		m.order = r
		m.choose(0)
	case 'm':
		m.kinds = !m.kinds
	case 'd', 'p':
		if len(m.status.Targets) > 0 && !m.busy {
			return m.beginPurge(r == 'd')
		}
	}
	return nil
}

func (m *Model) beginPurge(dryRun bool) (do func(context.Context) string) {
	rows := m.workers()
	if len(rows) == 0 {
		m.note = "There is no worker to purge."
		return nil
	}
	w, target := rows[m.at], m.target
	if w.State != render.Stopping {
		m.note = fmt.Sprintf("Worker %d is %s: only workers that are stopping are purged.", w.PID,
			w.State)
		return nil
	}
	do = func(ctx context.Context) string {
		done, err := m.Purge(ctx, target, w.PID, dryRun)
		if err != nil {
			return fmt.Sprintf("Worker %d: %v", w.PID, err)
		}
		return purgeText(done)
	}
	if dryRun {
		m.note, m.busy = "Checking...", true
		return do
	}
	m.asking = do
	m.note = fmt.Sprintf("Purge the TLS session cache of worker %d, generation %d, %s? y/n", w.PID,
		w.Generation, render.Known(w.Cache, render.Size))
	return nil
}

func purgeText(p status.Purge) string {
	switch p.Result {
	case status.Purged:
		return fmt.Sprintf("Worker %d: freed %s; its threads were frozen for %.0f µs.", p.PID,
			render.Size(p.Before-min(p.Before, p.After)), p.Held)
	case status.WouldPurge:
		return fmt.Sprintf("Worker %d: a purge would free up to %s (layout of HAProxy %s).", p.PID,
			render.Size(p.Before), p.Layout)
	}
	return fmt.Sprintf("Worker %d: %s: %s", p.PID, p.Result, p.Reason)
}
