package controller

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hapressure/cgroup"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

const roomMiB = 1 << 20

// roomView is a view of workers of 100 MiB each in a group with a limit of 1000 MiB, of
// which used MiB are used.
func roomView(used uint64, states ...haproxy.State) view {
	v := view{footprint: 100 * roomMiB, nearest: cgroup.Limit{
		Group: group, Kind: "memory.max", Bytes: 1000 * roomMiB, Usage: used * roomMiB,
	}}
	v.ReloadRoom = policy.Reading{Value: float64(v.nearest.Headroom()) / float64(v.footprint)}
	in := haproxy.Instance{}
	for _, state := range states {
		in.Workers = append(in.Workers, haproxy.Worker{State: state, Private: 100 * roomMiB})
	}
	v.found, v.workers = []haproxy.Instance{in}, in.Workers
	return v
}

func TestRoomDecisions(t *testing.T) {
	const stopping, current, unknown = haproxy.StateStopping, haproxy.StateCurrent,
		haproxy.StateUnknown
	outside := roomView(900, current)
	outside.nearest.Group = ""
	loadedLong := roomView(100, current, unknown)
	loadedLong.found[0].Workers[1].Age = loadTime
	unlisted := roomView(100)
	unlisted.WorkersAbsent = "drawn"
	notKnown, firstLoads := roomView(100), roomView(100, unknown)
	notKnown.ReloadRoom, firstLoads.ReloadRoom = absent("drawn"), absent("drawn")
	for name, tt := range map[string]struct {
		view view
		want string // "" = it waits
	}{
		"room":                          {roomView(800, stopping, current), status.RoomFound},
		"no room, one may end":          {roomView(801, stopping, current), ""},
		"no room, none will end":        {roomView(801, current), status.NoRoom},
		"no room, an unknown may end":   {roomView(900, unknown, current), ""},
		"no room, others may free some": {outside, ""},
		"room, one loads":               {roomView(100, current, unknown), ""},
		"room, one loads for too long":  {loadedLong, status.RoomFound},
		"room, an old one is unknown":   {roomView(100, unknown, current), status.RoomFound},
		"workers cannot be listed":      {unlisted, ""},
		"no worker was ever found":      {notKnown, status.RoomUnknown},
		"the first worker loads":        {firstLoads, ""},
	} {
		var open rooms
		w := open.begin(RoomRequest{Reloads: 2})
		for range futileTicks {
			w.decide(tt.view, group)
		}
		got := ""
		if len(w.answer) > 0 {
			got = (<-w.answer).Result
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// One tick that finds waiting futile does not decide.
func TestFutileRoomIsConfirmed(t *testing.T) {
	var open rooms
	w := open.begin(RoomRequest{Reloads: 2})
	for range 3 {
		w.decide(roomView(900, haproxy.StateCurrent), group)
		w.decide(roomView(900, haproxy.StateStopping, haproxy.StateCurrent), group)
	}
	if len(w.answer) > 0 {
		t.Errorf("answered %+v", <-w.answer)
	}
}

// requestRoom begins a request for two reloads, of a guard that does not run and whose
// last tick a second ago found room. The function waits for the answer.
func requestRoom(t *testing.T, ctx context.Context) (
	*guard, *recorder, func() (status.Room, error),
) {
	j := newRecorder()
	c := New(Config{Policy: &policy.Policy{}, Journal: j})
	c.found()
	gone := make(chan struct{})
	g := &guard{
		target: target{name: group, cgroup: group}, events: Events{j},
		gone: gone, stop: func() { close(gone) },
	}
	g.wakeups.woken = make(chan struct{}, 1)
	before := roomView(100, haproxy.StateCurrent)
	g.published.tick(g.name, before, &policy.Policy{}, &policy.State{}, nil)
	time.Sleep(time.Second)
	c.guards[group] = g
	var room status.Room
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		room, err = c.MakeRoom(ctx, RoomRequest{Reloads: 2, Timeout: 20 * time.Second, By: "test"})
	}()
	synctest.Wait()
	if len(g.wakeups.woken) == 0 {
		t.Error("the guard is not woken")
	}
	return g, j, func() (status.Room, error) { <-done; return room, err }
}

func TestRoomTimesOut(t *testing.T) {
	short := roomView(850, haproxy.StateStopping, haproxy.StateCurrent)
	loads := roomView(100, haproxy.StateCurrent, haproxy.StateUnknown)
	for name, tt := range map[string]struct {
		last           *view // nil: the guard hangs
		result, reason string
		missing        uint64
	}{
		"no room": {&short, status.NoRoom, "there is room for 1.5 of 2 reloads under " + group +
			" memory.max: 50 MiB are missing; its workers hold 1 stopping 100 MiB, " +
			"1 current 100 MiB, and all else that the limit counts 650 MiB", 50 * roomMiB},
		"a worker loads for ever": {&loads, status.RoomFound, "", 0},
		"the guard hangs":         {nil, status.RoomUnknown, "no tick ended during the timeout", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, j, answer := requestRoom(t, t.Context())
				time.Sleep(time.Second)
				if tt.last != nil {
					g.published.tick(g.name, *tt.last, &policy.Policy{}, &policy.State{}, nil)
					g.rooms.waiting()[0].decide(*tt.last, group)
				}
				g.rooms.acted(5)
				room, err := answer()
				if err != nil || room.Result != tt.result || room.Waited != 20 ||
					room.Reason != tt.reason || room.Freed != 5 || room.Missing != tt.missing {
					t.Errorf("got %+v, %v", room, err)
				}
				if n := len(g.rooms.waiting()); n != 0 {
					t.Errorf("%d requests are open", n)
				}
				if e := j.all(kind(MakeRoom)); len(e) != 1 ||
					!strings.Contains(e[0].Message, tt.reason) {
					t.Errorf("entries %+v", e)
				}
			})
		})
	}
}

func TestRoomOfATargetThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, answer := requestRoom(t, t.Context())
		g.stop()
		room, err := answer()
		if err != nil || room.Result != status.RoomUnknown || room.Waited != 0 {
			t.Errorf("got %+v, %v", room, err)
		}
	})
}

func TestRoomIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g, j, answer := requestRoom(t, ctx)
		cancel()
		if _, err := answer(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if n := len(g.rooms.waiting()); n != 0 {
			t.Errorf("%d requests are open", n)
		}
		if e := j.all(kind(MakeRoom)); len(e) != 1 ||
			e[0].Fields["HAPRESSURE_RESULT"] != status.RoomCanceled {
			t.Errorf("entries %+v", e)
		}
	})
}
