package controller

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// RoomRequest asks to wait until reloads of a target fit.
type RoomRequest struct {
	Target  string  // its name; "" = the only target
	Reloads float64 // how many
	Timeout time.Duration
	By      string // who asks, for the journal
}

// ErrNoTarget means that no guarded target has the requested name.
var ErrNoTarget = errors.New("no such target")

// roomWaiter is a request that is not answered yet.
type roomWaiter struct {
	RoomRequest
	since  time.Time
	answer chan status.Room // of capacity 1
	freed  uint64           // by actions meanwhile; rooms.mu guards it
	futile int              // consecutive ticks in which waiting was; of the guard's goroutine
}

// rooms are the requests for room of one target. Clients begin and end them, the guard
// answers them.
type rooms struct {
	mu   sync.Mutex
	open []*roomWaiter // the oldest first
}

func (r *rooms) begin(request RoomRequest) *roomWaiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &roomWaiter{RoomRequest: request, since: time.Now(), answer: make(chan status.Room, 1)}
	r.open = append(r.open, w)
	return w
}

func (r *rooms) end(w *roomWaiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = slices.DeleteFunc(r.open, func(o *roomWaiter) bool { return o == w })
}

// waiting returns the open requests.
func (r *rooms) waiting() []*roomWaiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.open)
}

// acted counts what an action has freed.
func (r *rooms) acted(freed uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.open {
		w.freed += freed
	}
}

// freed returns what actions have freed since a request began, in bytes.
func (r *rooms) freed(w *roomWaiter) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return w.freed
}

// status describes the open requests.
func (r *rooms) status() []status.RoomRequest {
	all := []status.RoomRequest{}
	for _, w := range r.waiting() {
		all = append(all, status.RoomRequest{
			Since: w.since, Until: w.since.Add(w.Timeout), Reloads: w.Reloads, By: w.By,
		})
	}
	return all
}

// mostReloads returns the number of reloads that satisfies all requests, 0 if there are
// none.
func mostReloads(waiting []*roomWaiter) float64 {
	most := 0.0
	for _, w := range waiting {
		most = max(most, w.Reloads)
	}
	return most
}

// futileTicks is how many consecutive ticks must find that waiting is futile.
const futileTicks = 2

// decide answers the request by a tick that began after it, or leaves it open.
func (w *roomWaiter) decide(v view, cgroup string) {
	futile := w.futile + 1
	w.futile = 0
	known := v.ReloadRoom.Absent == ""
	switch {
	case v.WorkersAbsent != "" || loading(v.found):
	case known && v.ReloadRoom.Value >= w.Reloads:
		w.reply(w.judge(v))
	// What is not known while no worker loads will hardly become known. Or only the
	// target's own memory counts, and no worker of it will free any.
	case !known, v.nearest.Group == cgroup && !slices.ContainsFunc(v.workers, mayEnd):
		if w.futile = futile; futile >= futileTicks {
			w.reply(w.judge(v))
		}
	}
}

func (w *roomWaiter) reply(answer status.Room) {
	select {
	case w.answer <- answer:
	default: // it was answered by an earlier tick
	}
}

// loadTime is how long the start of a worker may take. Until its end it is not known how
// much memory the worker will hold.
const loadTime = time.Minute

// loading reports whether the youngest worker of an instance may still be starting.
func loading(found []haproxy.Instance) bool {
	return slices.ContainsFunc(found, func(in haproxy.Instance) bool {
		n := len(in.Workers)
		return n > 0 && in.Workers[n-1].State == haproxy.StateUnknown &&
			in.Workers[n-1].Age < loadTime
	})
}

// mayEnd reports whether a worker may free memory by ending.
func mayEnd(w haproxy.Worker) bool { return w.State != haproxy.StateCurrent }

// late is the answer at the end of the timeout, by the last tick.
func (w *roomWaiter) late(l snapshot) status.Room {
	if l.at.Before(w.since) || l.policy == nil {
		return w.unknown("no tick ended during the timeout")
	}
	return w.judge(l.view)
}

func (w *roomWaiter) unknown(why string) status.Room {
	return status.Room{
		Result: status.RoomUnknown, ReloadRoom: policy.Reading{Absent: why}, Reason: why,
	}
}

// judge is the answer by a view.
func (w *roomWaiter) judge(v view) status.Room {
	if v.ReloadRoom.Absent != "" {
		return w.unknown(v.ReloadRoom.Absent)
	}
	answer := status.Room{
		Result: status.RoomFound, ReloadRoom: v.ReloadRoom,
		Limit: limitStatus(v.nearest), Footprint: v.footprint,
	}
	if v.ReloadRoom.Value >= w.Reloads {
		return answer
	}
	answer.Result = status.NoRoom
	needed := uint64(w.Reloads * float64(v.footprint))
	answer.Missing = needed - min(needed, v.nearest.Headroom())
	answer.Reason = fmt.Sprintf("there is room for %s of %s under %s: %s are missing; %s",
		policy.FormatNumber(v.ReloadRoom.Value), policy.Count(w.Reloads, "reload"), v.nearest,
		mib(answer.Missing), v.holders())
	return answer
}

// holders says in words what holds the memory of the nearest limit.
func (v view) holders() string {
	var count [3]int // by state
	var held [3]uint64
	for _, w := range v.workers {
		count[w.State]++
		held[w.State] += w.Private + max(w.Cache, w.Shared)
	}
	rest := v.nearest.Usage
	var parts []string
	for _, state := range []haproxy.State{
		haproxy.StateStopping, haproxy.StateUnknown, haproxy.StateCurrent,
	} {
		rest -= min(rest, held[state])
		if n := count[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s %s", n, state, mib(held[state])))
		}
	}
	return fmt.Sprintf("its workers hold %s, and all else that the limit counts %s",
		strings.Join(parts, ", "), mib(rest))
}
