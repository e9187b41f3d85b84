package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hapressure/controller/status"
)

// MakeRoom waits until reloads of a target fit, for the timeout of the request at most.
// Meanwhile the guard does what the policy permits for that (policy.MakeRoom). Requests
// for the same target wait together. The end of ctx withdraws the request.
func (c *Controller) MakeRoom(ctx context.Context, r RoomRequest) (status.Room, error) {
	waiting, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	g, err := c.guardForRoom(waiting, r.Target)
	if err != nil {
		return status.Room{}, err
	}
	w := g.rooms.begin(r)
	defer g.rooms.end(w)
	g.wakeups.wake()
	var answer status.Room
	select {
	case answer = <-w.answer:
	case <-g.gone:
		answer = w.unknown("hapressure no longer guards it")
	case <-waiting.Done():
		answer = w.late(g.published.get())
	}
	answer.Target, answer.Reloads = g.name, r.Reloads
	answer.Waited, answer.Freed = time.Since(w.since).Seconds(), g.rooms.freed(w)
	if err = ctx.Err(); err != nil {
		answer.Result = status.RoomCanceled
		answer.Reason = "the client closed its connection, or hapressure stops"
	}
	g.events.roomAnswered(answer, r.By)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guards[g.name] == g { // a target that is gone gets no new series
		c.tallies.roomAnswered(answer)
	}
	return answer, err
}

// guardForRoom returns the guard of the target with a name, after the first lookup of
// targets.
func (c *Controller) guardForRoom(ctx context.Context, name string) (*guard, error) {
	select {
	case <-c.lookedUp:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the first lookup of targets: %w", ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	names := slices.Sorted(maps.Keys(c.guards))
	if name == "" && len(names) == 1 {
		name = names[0]
	}
	if g := c.guards[name]; g != nil {
		return g, nil
	}
	guarded := "none is guarded"
	if len(names) > 0 {
		guarded = "guarded are " + strings.Join(names, ", ")
	}
	if name == "" {
		return nil, fmt.Errorf("%w: name a target: %s", ErrNoTarget, guarded)
	}
	return nil, fmt.Errorf("%w: %q is not guarded: %s", ErrNoTarget, name, guarded)
}
