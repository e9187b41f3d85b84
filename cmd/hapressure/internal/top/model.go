package top

import (
	"context"
	"slices"
	"time"

	"hapressure/cmd/hapressure/internal/playback"
	"hapressure/controller/status"
)

// Model is what hapressure top knows and shows. Keys and answers change it, draw shows
// it.
type Model struct {
	Ask   func(context.Context) (s status.Status, note string, err error)
	Purge func(ctx context.Context, target string, pid int, dryRun bool) (status.Purge, error)
	// Load reads what is shown instead of answers; nil: answers are shown. It calls
	// progress now and then.
	Load  func(ctx context.Context, progress func(string)) (*playback.Recording, error)
	ASCII bool

	recording *playback.Recording // what Load has read
	loading   string              // how far Load is

	status status.Status
	heard  time.Time // when status arrived; zero: never
	err    error     // of the last question
	unread string    // what could not be read for status
	travel travel
	span   int // index of spans: what the charts cover

	view    view
	targets listing
	workers listing
	target  string // the one shown or chosen
	pid     int    // of the worker chosen
	row     int    // of the target chosen in the overview
	at      int    // the row of the worker chosen
	kinds   bool   // the columns of the workers' memory give way last

	typing bool                         // the filter of the table that is shown
	asking func(context.Context) string // what y does
	note   string                       // a question, or what came of an action
	busy   bool                         // an action is under way
	help   bool
	scroll int // the first line of the help that is shown
	quit   bool
}

// view is what the screen shows.
type view int

const (
	undecided  view = iota // the only target, or the overview of several
	inOverview             // all targets
	inTarget               // a target and its workers
	inWorker               // a worker in detail, below its target
)

// New returns a model that sorts the worst target and the oldest worker first.
func New() *Model {
	return &Model{targets: listing{by: byWorst}, workers: listing{by: byGeneration}}
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
	if a.status.Daemon == nil && m.recording == nil { // an inspection has no history
		for i := range a.status.Targets {
			t := &a.status.Targets[i]
			if old := m.index(t.Name); old >= 0 {
				t.History = append(m.status.Targets[old].History, t.History...)
				t.History = t.History[max(0, len(t.History)-int(spans[0]/time.Second)):]
			}
		}
	}
	m.status, m.unread, m.heard = a.status, a.note, now
	m.follow()
}

// index returns the index of a target, -1 if it is not there.
func (m *Model) index(name string) int {
	return slices.IndexFunc(m.status.Targets,
		func(t status.Target) bool { return t.Name == name })
}

// follow keeps the chosen rows on their target and worker. If these have gone, the rows
// stay.
func (m *Model) follow() {
	if m.view == undecided && len(m.status.Targets) > 0 {
		if m.view = inTarget; len(m.status.Targets) > 1 {
			m.view = inOverview
		}
	}
	m.chooseTarget(0)
	m.chooseWorker(0)
}

// listed returns the targets of the overview.
func (m *Model) listed() []status.Target {
	return arrange(m.status.Targets, targetColumns(m.status.At), m.targets)
}

// chooseTarget chooses the target that is rows below the chosen one.
func (m *Model) chooseTarget(below int) {
	rows := m.listed()
	at := slices.IndexFunc(rows, func(t status.Target) bool { return t.Name == m.target })
	if at >= 0 {
		m.row = at
	}
	m.row = max(0, min(m.row+below, len(rows)-1))
	switch {
	case len(rows) > 0 && (below != 0 || m.view == inOverview || m.index(m.target) < 0):
		m.target = rows[m.row].Name
	case m.index(m.target) < 0 && len(m.status.Targets) > 0:
		m.target = m.status.Targets[0].Name
	}
}

// shown returns the target that is shown or chosen, false if there is none.
func (m *Model) shown() (status.Target, bool) {
	i := m.index(m.target)
	if i < 0 {
		return status.Target{}, false
	}
	return m.status.Targets[i], true
}

// turn shows the target that is steps away.
func (m *Model) turn(steps int) {
	if n := len(m.listed()); n > 0 {
		m.row = (m.row + steps + n) % n
		m.target = m.listed()[m.row].Name
		m.pid, m.at = 0, 0
		m.chooseWorker(0)
	}
}

// columns returns the columns of the workers.
func (m *Model) columns() []column[status.Worker] {
	if m.kinds {
		return workerColumns(ofKinds)
	}
	return workerColumns(ofStates)
}

// rows returns the workers of the target that is shown.
func (m *Model) rows() []status.Worker {
	var all []status.Worker
	t, _ := m.shown()
	for _, master := range t.Masters {
		all = append(all, master.Workers...)
	}
	return arrange(all, m.columns(), m.workers)
}

// chooseWorker chooses the worker that is rows below the chosen one.
func (m *Model) chooseWorker(below int) {
	rows := m.rows()
	at := slices.IndexFunc(rows, func(w status.Worker) bool { return w.PID == m.pid })
	if at >= 0 {
		m.at = at
	}
	if m.at = max(0, min(m.at+below, len(rows)-1)); len(rows) > 0 {
		m.pid = rows[m.at].PID
	}
}

// chosen returns the worker that is chosen, false if there is none.
func (m *Model) chosen() (status.Worker, bool) {
	rows := m.rows()
	if m.at >= len(rows) {
		return status.Worker{}, false
	}
	return rows[m.at], true
}

// choose moves the cursor of the table that is shown.
func (m *Model) choose(below int) {
	if m.view == inOverview {
		m.chooseTarget(below)
		m.pid, m.at = 0, 0
		m.chooseWorker(0)
		return
	}
	m.chooseWorker(below)
}

// listing returns what is chosen of the table that is shown.
func (m *Model) listing() *listing {
	if m.view == inOverview {
		return &m.targets
	}
	return &m.workers
}

// sort sorts the table that is shown by the column that is steps after the present one.
func (m *Model) sort(steps int) {
	if m.view == inOverview {
		m.targets.by = sorter(targetColumns(m.status.At), m.targets.by, steps)
	} else {
		m.workers.by = sorter(m.columns(), m.workers.by, steps)
	}
	m.follow()
}

// sortWorkers sorts the workers by a column.
func (m *Model) sortWorkers(by string) {
	m.workers.by = by
	m.follow()
}

// open goes into what is chosen.
func (m *Model) open() {
	switch m.view {
	case inOverview:
		if len(m.listed()) > 0 {
			m.view = inTarget
		}
	case inTarget:
		if len(m.rows()) > 0 {
			m.view = inWorker
		}
	}
}

// back ends the filter of the table that is shown, or else goes out one view.
func (m *Model) back() {
	switch l := m.listing(); {
	case m.view == inWorker:
		m.view = inTarget
	case l.filter != "":
		l.filter = ""
		m.follow()
	case m.view == inTarget:
		m.view = inOverview
		m.chooseTarget(0)
	}
}

// reverse reverses the order of the table that is shown.
func (m *Model) reverse() {
	l := m.listing()
	l.reversed = !l.reversed
	m.follow()
}

// beginFilter has the next keys type the filter of the table that is shown.
func (m *Model) beginFilter() { m.typing = true }

// switchColumns changes which columns of the workers give way.
func (m *Model) switchColumns() { m.kinds = !m.kinds }
