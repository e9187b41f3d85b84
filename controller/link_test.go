package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/systemd"
	"hapressure/tests/cgrouptest"
	"hapressure/tests/haproxytest"
)

// switched is a bus that is there or not.
type switched struct {
	mu    sync.Mutex
	units *fakeUnits // nil: there is none
}

func (s *switched) set(units *fakeUnits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units = units
}

func (s *switched) connect(context.Context) (Units, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.units == nil {
		return nil, errors.New("no such bus")
	}
	return s.units, nil
}

// ways are a bus and the cgroup tree of the world.
func (w *world) ways(bus *switched) []Way {
	return []Way{
		{Name: "D-Bus", Connect: bus.connect},
		{Name: "the cgroup tree", Lacks: "hooks are " +
			"not run", Connect: func(context.Context) (Units, error) {
			return systemd.NewTree(w.tree.Mount), nil
		}},
	}
}

var shortPauses = pauses{lookup: 50 * time.Millisecond, reconnect: 20 * time.Millisecond}

// A unit is found and guarded without a bus; when the bus comes it is used, and when it
// goes the tree is again. Each change has one entry, and the guard knows nothing of it.
func TestGuardsUnitsWithoutABus(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	bus := &switched{}
	c, stop := w.guardWith(purgeAlways, Config{Ways: w.ways(bus), pauses: shortPauses})
	w.journal.wait(t, "the target", 1, kind(TargetFound))
	w.reload()
	w.journal.wait(t, "a purge", 1, action(policy.PurgeSSLCache))
	if got := c.State(t.Context()).Systemd; got.By != "the cgroup tree" || got.Why != "no such bus" || got.Lacks == "" {
		t.Errorf("status: %+v", got)
	}

	bus.set(w.units)
	w.journal.wait(t, "the bus in use", 2, kind(ConnectionChanged))
	if got := c.State(t.Context()).Systemd; got != (status.Systemd{By: "D-Bus"}) {
		t.Errorf("status: %+v", got)
	}
	w.reload()
	w.units.changes <- w.units.name
	w.journal.wait(t, "a purge", 2, action(policy.PurgeSSLCache))

	bus.set(nil)
	close(w.units.changes)
	w.journal.wait(t, "the tree in use", 3, kind(ConnectionChanged))
	w.reload()
	w.journal.wait(t, "a purge", 3, action(policy.PurgeSSLCache))
	stop()

	var got []string
	for _, e := range w.journal.all(kind(ConnectionChanged)) {
		got = append(got, fmt.Sprintf("%d %s", e.Priority, e.Message))
		if e.Fields["HAPRESSURE_CONNECTION"] == "" || e.Fields["HAPRESSURE_CONNECTION_FROM"] == "" {
			t.Errorf("fields %v", e.Fields)
		}
	}
	down := "4 Finding units by the cgroup tree instead of D-Bus: no such bus; hooks are not run; " +
		"retrying every 0 s"
	if want := []string{down, "5 Finding units by D-Bus instead of the " +
		"cgroup tree", down}; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("reported\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := len(w.journal.all(kind(TargetFound))); n != 1 {
		t.Errorf("the guard was started %d times", n)
	}
	if n := len(w.journal.all(func(e systemd.Entry) bool { return e.Fields["HAPRESSURE_SENSOR"] == "systemd" })); n != 1 {
		t.Errorf("%d entries about systemd, want that of the loss", n)
	}
}

// hung is a bus that takes connections and does not answer.
type hung struct{ fakeUnits }

func (*hung) ControlGroup(context.Context, string) (string, error) {
	return "", fmt.Errorf("no answer within 25s: %w", context.DeadlineExceeded)
}

func (h *hung) Match(ctx context.Context, glob string) ([]string, error) {
	_, err := h.ControlGroup(ctx, glob)
	return nil, err
}

// A bus that stops answering is left, for a unit and for a glob.
func TestLeavesABusThatHangs(t *testing.T) {
	for _, unit := range []string{"haproxy.service", "haproxy*.service"} {
		t.Run(unit, func(t *testing.T) {
			w := &world{t: t, tree: cgrouptest.New(t), journal: newRecorder()}
			w.tree.Group(group, nil)
			connected := false
			ways := w.ways(&switched{})
			ways[0].Connect = func(context.Context) (Units, error) {
				if connected {
					return nil, errors.New("it hangs")
				}
				connected = true
				return &hung{}, nil
			}
			w.guardWith("version: 1\ntargets: [unit: '"+unit+"']\ntiers: [{name: purge, enter: "+
				"always, actions: []}]\n", Config{Ways: ways, pauses: shortPauses})
			w.journal.wait(t, "the target", 1, kind(TargetFound))
			if n := len(w.journal.all(func(e systemd.Entry) bool { return e.Fields["HAPRESSURE_SENSOR"] == "systemd" })); n != 1 {
				t.Errorf("%d entries about the bus", n)
			}
		})
	}
}

// deaf is a bus that answers before systemd does.
type deaf struct {
	fakeUnits
	closed bool
}

func (*deaf) Changes(context.Context) (<-chan string, error) { return nil, errors.New("no systemd") }
func (d *deaf) Close()                                       { d.closed = true }

func TestConnectNeedsSystemd(t *testing.T) {
	none := func(context.Context) (Units, error) { return nil, errors.New("no bus") }
	bus := &deaf{}
	ways := []Way{{Name: "a", Connect: none}, {Name: "b", Connect: func(context.Context) (Units, error) { return bus, nil }}}
	if link, err := Connect(t.Context(), ways); link != nil || err == nil || err.Error() != "no bus; no systemd" || !bus.closed {
		t.Errorf("%v, %v; closed: %v", link, err, bus.closed)
	}
	ways = append(ways, Way{Name: "c", Connect: func(context.Context) (Units, error) { return &fakeUnits{}, nil }})
	link, err := Connect(t.Context(), ways)
	if err != nil || link.Name != "c" || link.Failed == nil || link.Failed.Error() != "no bus; no "+
		"systemd" {
		t.Errorf("%+v, %v", link, err)
	}
}

// One look, without a daemon, goes the same ways; a policy without units goes none.
func TestLookWithoutABus(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	for text, want := range map[string]status.Systemd{
		purgeAlways: {By: "the cgroup tree", Lacks: "hooks are not run", Why: "no such bus"},
		"targets: [cgroup: " + group + "]\n" + purgeAlways: {},
	} {
		c := New(Config{Policy: decode(t, text), Procfs: "/proc", Cgroups: w.tree.Mount, Journal: w.journal, Ways: w.ways(&switched{})})
		s := c.Inspect(t.Context())
		if len(s.Targets) != 1 || s.Targets[0].Cgroup != group || s.Systemd != want {
			t.Errorf("%q: %d targets, %+v; want 1, %+v", text, len(s.Targets), s.Systemd, want)
		}
	}
}
