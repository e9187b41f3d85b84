package systemd

import (
	"fmt"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	start := time.Unix(1e9, 0)
	of := func(id, target string) Entry {
		return Entry{MessageID: id, Fields: map[string]string{"HAPRESSURE_TARGET": target}}
	}
	// Each step sends some entries at a time, and tells how many of them are to be written and what the last one that is tells of.
	steps := []struct {
		at         time.Duration
		entry      Entry
		send, want int
		leftOut    int
	}{
		{0, of(Failed, "a"), 50, 30, 0},
		{0, of(Failed, "b"), 30, 30, 0},        // another target
		{0, of(SensorMissing, "a"), 31, 30, 0}, // another kind
		{0, of(Action, "a"), 1000, 1000, 0},    // these are never left out
		{0, of(Refused, "a"), 1000, 1000, 0},
		{0, of(TierChanged, "a"), 1000, 1000, 0},
		{9 * time.Second, of(Failed, "a"), 5, 0, 0},
		{10 * time.Second, of(Failed, "a"), 3, 1, 25}, // 20 and 5
		{30 * time.Second, of(Failed, "a"), 3, 2, 0},  // the first of the two told of 2
		{10 * time.Minute, of(Failed, "a"), 40, 30, 0},
		{10 * time.Minute, of(SensorMissing, "a"), 1, 1, 1},
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

// However many targets come and go, what is known of them is bounded, and no count is forgotten.
func TestLimitsAreBounded(t *testing.T) {
	l := limits{by: map[string]*limit{}}
	written, told := 0, 0
	const targets, each = 2000, limitBurst + 2
	for i := range targets {
		for range each {
			e := Entry{MessageID: TargetFound, Fields: map[string]string{"HAPRESSURE_TARGET": fmt.Sprint(i)}}
			if leftOut, ok := l.take(time.Unix(0, 0), e); ok {
				written, told = written+1, told+leftOut
			}
		}
		if len(l.by) > limitMost {
			t.Fatalf("%d are known", len(l.by))
		}
	}
	for _, k := range l.by {
		told += k.leftOut
	}
	if written+told+l.lost != targets*each {
		t.Errorf("%d were written and %d told of, of %d", written, told+l.lost, targets*each)
	}
}
