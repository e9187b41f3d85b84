package top

import (
	"fmt"
	"slices"
	"time"
)

// speeds are how many times faster than in reality a recording is played.
var speeds = []int{1, 2, 5, 10, 30, 60, 300, 1800}

// spans are the times that charts can cover. The history of a daemon is that of the
// first.
var spans = []time.Duration{10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
	7 * 24 * time.Hour}

// travel is a place in a recording, and how it moves.
type travel struct {
	from, to time.Time
	at       time.Time
	playing  bool
	speed    int // index of speeds
}

// seek moves to a time within the recording.
func (t *travel) seek(at time.Time) {
	t.at = at
	if at.Before(t.from) {
		t.at = t.from
	}
	if at.After(t.to) {
		t.at = t.to
	}
}

// state returns whether the recording is played, and how fast.
func (t *travel) state() string {
	if !t.playing {
		return "paused"
	}
	return fmt.Sprintf("▶ %d×", speeds[t.speed])
}

// pass plays on for a time in reality. Playing ends with the recording.
func (t *travel) pass(d time.Duration) {
	t.seek(t.at.Add(d * time.Duration(speeds[t.speed])))
	t.playing = t.at.Before(t.to)
}

// jump moves to the next of times, or to the previous one if steps is -1. If there is
// none it stays.
func (t *travel) jump(times []time.Time, steps int) {
	i, found := slices.BinarySearchFunc(times, t.at, time.Time.Compare)
	switch {
	case steps < 0:
		i--
	case found:
		for i < len(times) && times[i].Equal(t.at) {
			i++
		}
	}
	if i >= 0 && i < len(times) {
		t.at = times[i]
	}
}
