package systemd

import (
	"fmt"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	start := time.Unix(1e9, 0)
	of := func(key string) Entry { return Entry{Limit: key} }
	// Each step sends some entries at a time. want is how many of them are written; the
	// last of these reports leftOut.
	steps := []struct {
		at         time.Duration
		entry      Entry
		send, want int
		leftOut    int
	}{
		{0, of("failed a"), 50, 30, 0},
		{0, of("failed b"), 30, 30, 0},  // another key
		{0, of("missing a"), 31, 30, 0}, // another key
		{0, of(""), 1000, 1000, 0},      // without a key none is left out
		{9 * time.Second, of("failed a"), 5, 0, 0},
		{10 * time.Second, of("failed a"), 3, 1, 25}, // 20 and 5
		{30 * time.Second, of("failed a"), 3, 2, 0},  // the first of the two reports 2
		{10 * time.Minute, of("failed a"), 40, 30, 0},
		{10 * time.Minute, of("missing a"), 1, 1, 1},
	}
	l := limits{by: map[string]*limit{}}
	for i, s := range steps {
		written, last := 0, 0
		for range s.send {
			if leftOut, ok := l.take(start.Add(s.at), s.entry); ok {
				written, last = written+1, leftOut
			}
		}
		if written != s.want || last != s.leftOut {
			t.Errorf("step %d: %d written, the last telling of %d; want %d and %d", i, written, last, s.want, s.leftOut)
		}
	}
}

// However many keys come and go, the number of known keys is bounded, and no count is
// lost.
func TestLimitsAreBounded(t *testing.T) {
	l := limits{by: map[string]*limit{}}
	written, reported := 0, 0
	const targets, each = 2000, limitBurst + 2
	for i := range targets {
		for range each {
			e := Entry{Limit: fmt.Sprint(i)}
			if leftOut, ok := l.take(time.Unix(0, 0), e); ok {
				written, reported = written+1, reported+leftOut
			}
		}
		if len(l.by) > limitMost {
			t.Fatalf("%d are known", len(l.by))
		}
	}
	for _, k := range l.by {
		reported += k.leftOut
	}
	if written+reported+l.lost != targets*each {
		t.Errorf("%d were written and %d reported as left out, of %d", written, reported+l.lost, targets*each)
	}
}
