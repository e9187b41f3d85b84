package top

import (
	"context"
	"strings"
	"testing"
	"time"

	"hapressure/cmd/hapressure/internal/statustest"
	"hapressure/controller/status"
)

// live returns a model with two targets, the first with 12 workers.
func live() *Model {
	m := New()
	m.Purge = func(_ context.Context, _ string, pid int, _ bool) (status.Purge, error) {
		return status.Purge{PID: pid, Result: status.NoCache}, nil
	}
	calm := statustest.Calm()
	calm.Name = "calm.service"
	m.learn(answer{status: statustest.Status(statustest.Storm("haproxy.service", 12), calm)},
		statustest.Noon)
	return m
}

// A check is what must be true of a model after a key. by is how far the recording moved.
type check func(m *Model, by time.Duration) bool

func row(n int) check {
	return func(m *Model, _ time.Duration) bool { return m.at == n }
}

func shown(target string) check {
	return func(m *Model, _ time.Duration) bool { return m.target == target && m.at == 0 }
}

func in(v view) check {
	return func(m *Model, _ time.Duration) bool { return m.view == v }
}

func sorted(by string) check {
	return func(m *Model, _ time.Duration) bool { return m.listing().by == by }
}

func notes(text string) check {
	return func(m *Model, _ time.Duration) bool { return strings.Contains(m.note, text) }
}

func moved(d time.Duration) check {
	return func(_ *Model, by time.Duration) bool { return by == d }
}

// forward is true of a move by less than most.
func forward(most time.Duration) check {
	return func(_ *Model, by time.Duration) bool { return by > 0 && by < most }
}

func back(most time.Duration) check {
	return func(_ *Model, by time.Duration) bool { return by < 0 && -by < most }
}

func atStart(m *Model, _ time.Duration) bool { return m.travel.at == m.travel.from }

func atEnd(m *Model, _ time.Duration) bool { return m.travel.at == m.travel.to }

func speed(n int) check {
	return func(m *Model, _ time.Duration) bool { return speeds[m.travel.speed] == n }
}

func charts(span time.Duration) check {
	return func(m *Model, _ time.Duration) bool { return spans[m.span] == span }
}

func is(get func(*Model) bool) check {
	return func(m *Model, _ time.Duration) bool { return get(m) }
}

// keyTests has what each key does, after others were pressed.
var keyTests = map[string]struct {
	before string
	want   check
}{
	"Up":      {"Enter Down Down", row(1)},
	"k":       {"Enter Down Down", row(1)},
	"Down":    {"Enter", row(1)},
	"j":       {"", shown("calm.service")},
	"PgUp":    {"Enter PgDn Down", row(1)},
	"PgDn":    {"Enter", row(10)},
	"Home":    {"Enter PgDn", row(0)},
	"End":     {"Enter", row(11)},
	"Enter":   {"Down", in(inTarget)},
	"Esc":     {"Enter Enter", in(inTarget)},
	"/":       {"", is(func(m *Model) bool { return m.typing })},
	"s":       {"", sorted("USED")},
	"S":       {"Enter", sorted("HARD STOP")},
	"r":       {"", is(func(m *Model) bool { return m.targets.reversed && m.row == 1 })},
	"?":       {"", is(func(m *Model) bool { return m.help })},
	"q":       {"", is(func(m *Model) bool { return m.quit })},
	"Ctrl-C":  {"Enter p", is(func(m *Model) bool { return m.quit })},
	"Tab":     {"Enter Down", shown("calm.service")},
	"Backtab": {"Enter", shown("calm.service")},
	"Right":   {"Enter Down", shown("calm.service")},
	"Left":    {"Enter Enter", shown("calm.service")},
	"g":       {"Enter c", sorted(byGeneration)},
	"c":       {"Enter", is(func(m *Model) bool { return m.rows()[0].Generation == 2 })},
	"n":       {"Enter r", is(func(m *Model) bool { return m.rows()[0].Generation == 12 })},
	"a":       {"Enter", sorted(byAge)},
	"m":       {"Enter", is(func(m *Model) bool { return m.kinds })},
	"d":       {"Enter", notes("Checking...")},
	"p":       {"Enter", notes("? y/n")},
}

// replayKeyTests are those of time travel, from 70 s after the start.
var replayKeyTests = map[string]struct {
	before string
	want   check
}{
	"Right": {"", forward(2 * time.Second)},
	"t":     {"", forward(2 * time.Second)},
	"Left":  {"", back(2 * time.Second)},
	"T":     {"", back(2 * time.Second)},
	".":     {"", moved(time.Minute)},
	">":     {"", moved(time.Minute)},
	",":     {"", moved(-time.Minute)},
	"<":     {"", moved(-time.Minute)},
	"]":     {"", atEnd},
	"[":     {"", atStart},
	"e":     {"", forward(time.Minute)},
	"E":     {"", back(time.Minute)},
	"Home":  {"", atStart},
	"End":   {"", atEnd},
	"Space": {"End", is(func(m *Model) bool { return m.travel.playing && atStart(m, 0) })},
	"+":     {"", speed(2)},
	"=":     {"", speed(2)},
	"-":     {"+ +", speed(2)},
	"z":     {"", charts(time.Hour)},
	"Z":     {"z z", charts(time.Hour)},
	"p":     {"", notes("This is a recording")},
}

func TestEachKey(t *testing.T) {
	for key, tt := range keyTests {
		m := live()
		press(m, tt.before)
		if press(m, key); !tt.want(m, 0) {
			t.Errorf("%s after %q: %+v", key, tt.before, m)
		}
	}
	for key, tt := range replayKeyTests {
		m := replayed(t)
		m.travelBy(70 * time.Second)
		press(m, tt.before)
		was := m.travel.at
		if press(m, key); !tt.want(m, m.travel.at.Sub(was)) {
			t.Errorf("%s after %q: %+v", key, tt.before, m)
		}
	}
	for _, s := range sections {
		tests := keyTests
		if strings.HasPrefix(s.title, "Time travel") {
			tests = replayKeyTests
		}
		for _, l := range s.lines {
			for _, b := range l.bindings {
				for _, key := range strings.Fields(b.keys) {
					if _, ok := tests[key]; !ok {
						t.Errorf("%s: %q has no test", s.title, key)
					}
				}
			}
		}
	}
}

// A filter leaves the rows that contain it, whatever their case. Keys are its letters
// while it is typed.
func TestFilter(t *testing.T) {
	m := live()
	press(m, "Enter / C u r q Backspace R")
	if rows := m.rows(); len(rows) != 1 || rows[0].State != "current" || m.quit {
		t.Errorf("%q leaves %d rows", m.workers.filter, len(rows))
	}
	press(m, "Enter Enter")
	if m.typing || m.view != inWorker || m.pid != m.rows()[0].PID {
		t.Errorf("%+v", m)
	}
	press(m, "Esc Esc")
	if m.workers.filter != "" || m.view != inTarget || len(m.rows()) != 12 {
		t.Errorf("%q", m.workers.filter)
	}
	press(m, "/ z z z")
	if len(m.rows()) != 0 {
		t.Error("zzz leaves rows")
	}
	press(m, "Esc")
	if m.typing || len(m.rows()) != 12 {
		t.Error("Esc does not show all rows")
	}
}

// The chosen worker stays chosen when others come and go, and the target stays shown when
// it is no longer the worst.
func TestChosenStays(t *testing.T) {
	m := live()
	press(m, "Enter Down Down")
	s := statustest.Status(statustest.Storm("worse.service", 2),
		statustest.Storm("haproxy.service", 12))
	s.Targets[0].Tier = 3
	s.Targets[1].Masters[0].Workers = s.Targets[1].Masters[0].Workers[1:]
	m.learn(answer{status: s}, statustest.Noon)
	if m.target != "haproxy.service" || m.pid != 886 || m.at != 1 {
		t.Errorf("%s, %d in row %d", m.target, m.pid, m.at)
	}
	press(m, "Esc")
	if m.row != 1 || m.listed()[m.row].Name != "haproxy.service" {
		t.Errorf("row %d", m.row)
	}
	s.Targets = s.Targets[:1]
	m.learn(answer{status: s}, statustest.Noon)
	if m.target != "worse.service" || m.row != 0 {
		t.Errorf("%s in row %d", m.target, m.row)
	}
	m.learn(answer{status: statustest.Status()}, statustest.Noon)
	press(m, "Enter Down p d")
	if _, ok := m.shown(); ok {
		t.Error("a target is shown that has gone")
	}
}

// The worst target is the one in the highest tier, then the one with the least room.
func TestWorstFirst(t *testing.T) {
	m := New()
	m.learn(answer{status: statustest.Status(statustest.Calm(), statustest.Crowded(),
		statustest.Blind(), statustest.Storm("storm.service", 3))}, statustest.Noon)
	var names []string
	for _, t := range m.listed() {
		names = append(names, t.Name[:3])
	}
	if got := strings.Join(names, " "); got != "sto hap /lb hap" || m.target != "storm.service" {
		t.Errorf("%s, chosen is %s", got, m.target)
	}
}
