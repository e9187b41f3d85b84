// Package playback makes of recordings the statuses that the daemon would have answered.
package playback

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hapressure/controller/status"
	"hapressure/policy/record"
)

// maxSize bounds the memory of a Recording, in bytes: some 80,000 samples with seven
// workers, which are a day with one sample a second.
const maxSize = 256 << 20

// errTooLong is wrapped by the error for recordings that exceed maxSize.
var errTooLong = errors.New("the recordings are too long to be shown: pass fewer of them")

// Recording is what recordings of one or several targets contain.
type Recording struct {
	From, To time.Time // of the first sample and the last one

	targets []*target // by name
	playing *target   // whose recording Add takes
	size    int       // of the samples, in bytes
}

// Add takes the next event of a recording.
func (r *Recording) Add(e record.Event) error {
	switch {
	case e.Begin != nil:
		return r.begin(*e.Begin)
	case e.Outcome != nil:
		r.playing.end(*e.Outcome)
		return nil
	}
	const sample, worker = 2048, 208
	if r.size += sample + worker*len(e.Tick.Workers); r.size > maxSize {
		return fmt.Errorf("at %s: %w", r.To.Format(time.DateTime), errTooLong)
	}
	at := r.playing.tick(e.Tick)
	if r.From.IsZero() || at.Before(r.From) {
		r.From = at
	}
	if at.After(r.To) {
		r.To = at
	}
	return nil
}

// begin continues the target of a recording, or begins a target.
func (r *Recording) begin(b record.Begin) error {
	i, found := slices.BinarySearchFunc(r.targets, b.Target, func(t *target, name string) int {
		return strings.Compare(t.name, name)
	})
	if !found {
		r.targets = slices.Insert(r.targets, i, &target{name: b.Target})
	}
	r.playing = r.targets[i]
	return r.playing.begin(b)
}

// At returns the status as of a time, with the history of a time before it. A target
// that has no sample then is not in it.
func (r *Recording) At(at time.Time, back time.Duration) status.Status {
	s := status.Status{At: at, Targets: []status.Target{}}
	for _, t := range r.targets {
		if one, ok := t.at(at, back); ok {
			s.Targets = append(s.Targets, one)
		}
	}
	return s
}

// find returns a target, an empty one if it is not recorded.
func (r *Recording) find(name string) *target {
	for _, t := range r.targets {
		if t.name == name {
			return t
		}
	}
	return &target{}
}

// Samples returns the times of the samples of a target.
func (r *Recording) Samples(name string) []time.Time { return r.find(name).times }

// Events returns the times when a target changed its tier, or an action on it ended.
func (r *Recording) Events(name string) []time.Time { return r.find(name).events }

// Moments returns the history of a target over the whole recording.
func (r *Recording) Moments(name string) []status.Moment { return r.find(name).moments }
