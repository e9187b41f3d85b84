package top

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"

	"hapressure/cmd/hapressure/internal/statustest"
	"hapressure/controller/status"
	"hapressure/tests/golden"
)

func simulated(t *testing.T, charset string, width, height int) tcell.SimulationScreen {
	t.Helper()
	s := tcell.NewSimulationScreen(charset)
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	s.SetSize(width, height)
	return s
}

// shows is what stands on a screen.
func shows(s tcell.SimulationScreen) string {
	width, height := s.Size()
	lines := make([]string, height)
	for y := range lines {
		for x := range width {
			cell, _, _ := s.Get(x, y)
			lines[y] += cell
		}
		lines[y] = strings.TrimRight(lines[y], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// picture is what a model looks like.
func picture(t *testing.T, m *Model, width, height int) string {
	t.Helper()
	s := simulated(t, "UTF-8", width, height)
	defer s.Fini()
	m.draw(s, statustest.Noon)
	s.Show()
	return shows(s)
}

func TestTopPictures(t *testing.T) {
	old := statustest.Status(statustest.Storm("haproxy.service", 12))
	old.Daemon = nil
	calm := statustest.Calm()
	calm.Name = "calm.service"
	many := statustest.Status(statustest.Storm("haproxy.service", 12), calm)
	several := statustest.Status(calm, statustest.Blind(), statustest.Crowded(),
		statustest.Storm("other.service", 12))
	for name, tt := range map[string]struct {
		status        status.Status
		width, height int
		change        func(*Model)
	}{
		"80x24":    {many, 80, 24, keys("Enter")},
		"200x60":   {many, 200, 60, keys("Enter Down Down")},
		"120x40":   {many, 120, 40, keys("Enter c")},
		"ascii":    {many, 80, 24, func(m *Model) { m.ASCII = true; press(m, "Enter") }},
		"calm":     {statustest.Status(statustest.Calm()), 80, 24, func(*Model) {}},
		"blind":    {statustest.Status(statustest.Blind()), 80, 24, func(*Model) {}},
		"nodaemon": {old, 80, 24, func(*Model) {}},
		"gone": {many, 80, 24, func(m *Model) {
			press(m, "Enter")
			m.heard, m.err = statustest.Before(time.Minute), errors.New("hapressure is not running")
		}},
		"none": {statustest.Status(), 80, 24, func(*Model) {}},
		"failed": {statustest.Status(), 80, 24, func(m *Model) {
			m.heard = time.Time{}
			m.learn(answer{err: errors.New("looking for cgroup v2: it is not mounted: " +
				"boot with systemd.unified_cgroup_hierarchy=1, or mount it")}, statustest.Noon)
		}},
		"small":           {many, 60, 12, keys("Enter")},
		"smallest":        {many, 40, 8, keys("Enter")},
		"toosmall":        {many, 39, 8, keys("Enter")},
		"overview-80x24":  {several, 80, 24, keys("")},
		"overview-120x40": {several, 120, 40, keys("Down s")},
		"overview-200x60": {several, 200, 60, keys("s s r")},
		"overview-filter": {several, 80, 24, keys("/ o t h Enter")},
		"overview-none":   {several, 80, 24, keys("/ z Space z")},
		"detail-80x24":    {many, 80, 24, keys("Enter Down Enter")},
		"detail-120x40":   {many, 120, 40, keys("Enter Down Down Down Enter")},
		"filter":          {many, 80, 24, keys("Enter / 8 4 9")},
		"reversed":        {many, 80, 24, keys("Enter n r")},
		"help-ascii":      {many, 80, 24, func(m *Model) { m.ASCII = true; press(m, "?") }},
		"help-scrolled":   {many, 80, 24, keys("? PgDn PgDn PgDn")},
		"help-200x60":     {many, 200, 60, keys("?")},
		"help":            {many, 80, 24, keys("?")},
		"memory":          {many, 80, 24, keys("Enter m")},
		"confirm":         {many, 80, 24, keys("Enter PgDn Up Up p")},
	} {
		m := New()
		m.learn(answer{status: tt.status}, statustest.Noon)
		tt.change(m)
		golden.Check(t, "testdata/top-"+name+".txt", picture(t, m, tt.width, tt.height))
	}
}

// event returns the event of a key with a name.
func event(name string) *tcell.EventKey {
	if name == "Space" {
		name = " "
	}
	if r := []rune(name); len(r) == 1 {
		return tcell.NewEventKey(tcell.KeyRune, r[0], 0)
	}
	for key, known := range tcell.KeyNames {
		if known == name {
			return tcell.NewEventKey(key, 0, 0)
		}
	}
	panic("no key " + name)
}

// press presses keys, whose names spaces separate. It drops the tasks that they begin.
func press(m *Model, names string) {
	for _, name := range strings.Fields(names) {
		m.key(event(name))
	}
}

func keys(names string) func(*Model) { return func(m *Model) { press(m, names) } }

// A session performs a model on a simulated screen.
type session struct {
	t      *testing.T
	screen tcell.SimulationScreen
	ended  chan struct{}
}

func perform(t *testing.T, m *Model) *session {
	s := &session{t, simulated(t, "UTF-8", 120, 30), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { m.Run(ctx, s.screen); close(s.ended) }()
	t.Cleanup(func() { cancel(); <-s.ended; s.screen.Fini() })
	return s
}

func (s *session) press(keys string) {
	for _, r := range keys {
		s.screen.InjectKey(tcell.KeyRune, r, 0)
	}
}

// sees waits until the screen shows a text.
func (s *session) sees(text string) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(shows(s.screen),
		text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("the screen does not show %q:\n%s", text, shows(s.screen))
		}
	}
}

func TestTopPurges(t *testing.T) {
	type order struct {
		target string
		pid    int
		dryRun bool
	}
	orders := make(chan order, 1)
	m := New()
	m.Ask = func(context.Context) (status.Status, string, error) {
		return statustest.Status(statustest.Calm(), statustest.Storm("other.service", 3)), "", nil
	}
	m.Purge = func(_ context.Context, target string, pid int, dryRun bool) (status.Purge, error) {
		orders <- order{target, pid, dryRun}
		if dryRun {
			return status.Purge{PID: pid, Result: status.WouldPurge, Before: 237 << 20,
				Layout: "2.2 to 2.8"}, nil
		}
		return status.Purge{PID: pid, Result: status.Refused, Reason: "it is\x1b[31m another"}, nil
	}
	s := perform(t, m)
	s.sees("> other.service") // the worst
	s.screen.InjectKey(tcell.KeyDown, 0, 0)
	s.sees("> haproxy.service")
	s.screen.InjectKey(tcell.KeyEnter, 0, 0)
	s.sees("[1/2] haproxy.service")
	s.press("p")
	s.sees("Worker 812 is current: only workers that are stopping are purged.")
	s.screen.InjectKey(tcell.KeyTab, 0, 0)
	s.sees("[2/2] other.service")
	s.screen.InjectKey(tcell.KeyDown, 0, 0)
	s.press("d")
	s.sees("Worker 849: a purge would free up to 237 MiB (layout of HAProxy 2.2 to 2.8).")
	if got := <-orders; got != (order{"other.service", 849, true}) {
		t.Errorf("dry run of %+v", got)
	}
	for _, no := range []string{"n", "q", "p", "Y"} {
		s.press("p")
		s.sees("Purge the TLS session cache of worker 849, generation 2, 237 MiB? y/n")
		s.press(no)
		s.sees("Not purged.")
	}
	s.press("py")
	s.sees(`Worker 849: refused: it is\x1b[31m another`)
	if got := <-orders; got != (order{"other.service", 849, false}) {
		t.Errorf("purge of %+v", got)
	}
	select {
	case got := <-orders:
		t.Errorf("purge of %+v without a yes", got)
	default:
	}
	s.press("q")
	<-s.ended
}

// Neither a daemon that does not answer nor a purge that takes long holds up a key.
func TestTopNeverHangs(t *testing.T) {
	hang := make(chan struct{})
	asked := 0
	m := New()
	m.Ask = func(ctx context.Context) (status.Status, string, error) {
		if asked++; asked == 1 {
			return statustest.Status(statustest.Storm("haproxy.service", 12)), "", nil
		}
		<-ctx.Done()
		return status.Status{}, "", ctx.Err()
	}
	m.Purge = func(ctx context.Context, _ string, _ int, _ bool) (status.Purge, error) {
		<-hang
		return status.Purge{}, errors.New("the daemon says: no")
	}
	s := perform(t, m)
	s.sees("haproxy.service")
	s.press("py")
	s.sees("Purging...")
	s.press("p?")
	s.sees("any other key closes this")
	s.press("x")
	s.screen.InjectKey(tcell.KeyDown, 0, 0)
	s.sees(">    2   849")
	s.screen.SetSize(80, 24)
	s.screen.InjectKey(tcell.KeyDown, 0, 0)
	s.sees(">    3   886")
	close(hang)
	s.sees("Worker 812: the daemon says: no")
	s.screen.InjectKey(tcell.KeyCtrlC, 0, 0)
	<-s.ended
}

// Errors are shown, and asking goes on. What was learned before stays in sight.
func TestTopGoesOn(t *testing.T) {
	asked := 0
	m := New()
	m.Ask = func(context.Context) (status.Status, string, error) {
		if asked++; asked == 2 {
			return statustest.Status(statustest.Calm()), "Cannot read systemd", nil
		}
		return status.Status{}, "", fmt.Errorf("\x1b[2Jerror %d", asked)
	}
	s := perform(t, m)
	s.sees(`\x1b[2Jerror 1`)
	s.sees("Retrying every second. 'hapressure doctor' checks this host")
	s.sees("haproxy.service  no tier")
	s.sees("Cannot read systemd")
	s.sees("error 3; retrying")
	s.sees("haproxy.service  no tier")
}

// Without a daemon the history is made up of the looks.
func TestTopKeepsHistory(t *testing.T) {
	m := New()
	history := statustest.Calm().History
	for i := range 1000 {
		look := statustest.Status(statustest.Calm())
		look.Daemon, look.Targets[0].History = nil, history[i%len(history):i%len(history)+1]
		m.learn(answer{status: look}, statustest.Noon)
		if n := len(m.status.Targets[0].History); n != min(i+1, 600) {
			t.Fatalf("%d moments after %d looks", n, i+1)
		}
	}
}

func TestTopOrder(t *testing.T) {
	m := New()
	s := statustest.Status(statustest.Storm("haproxy.service", 4))
	w := s.Targets[0].Masters[0].Workers
	*w[1].Cache, *w[2].Cache, w[0].Connections, *w[1].Connections, w[2].Age = 5, 7, nil, 1, 1
	m.learn(answer{status: s}, statustest.Noon)
	m.choose(2)
	for key, want := range map[string][4]int{
		"g": {1, 2, 3, 4}, "c": {1, 3, 2, 4}, "n": {3, 4, 2, 1}, "a": {1, 2, 4, 3},
	} {
		press(m, key)
		var got [4]int
		for i, w := range m.rows() {
			got[i] = w.Generation
		}
		if got != want || got[m.at] != 3 {
			t.Errorf("%s: %v, want %v; chosen is %d", key, got, want, got[m.at])
		}
	}
}
