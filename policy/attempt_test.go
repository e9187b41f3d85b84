package policy

import (
	"testing"
	"time"
)

func TestHardStopLimit(t *testing.T) {
	h := HardStop{Limit: 5 * time.Minute, HalveEvery: 30 * time.Second, Floor: 15 * time.Second}
	for _, tt := range []struct {
		h          HardStop
		held, want time.Duration
	}{
		{h, 0, 300 * time.Second}, {h, 30*time.Second - 1, 300 * time.Second}, {h, 30 * time.Second, 150 * time.Second}, {h, 60 * time.Second, 75 * time.Second},
		{h, 120 * time.Second, 18750 * time.Millisecond}, {h, 150 * time.Second, 15 * time.Second}, {h, 1000 * time.Hour, 15 * time.Second},
		{HardStop{Limit: time.Second}, time.Hour, time.Second},
		{HardStop{Limit: time.Second, HalveEvery: 1}, 1000 * time.Hour, 0},
	} {
		if got := tt.h.limit(tt.held); got != tt.want {
			t.Errorf("%+v held %s: %s, want %s", tt.h, tt.held, got, tt.want)
		}
	}
}

// TestHoldingDiffers asserts the bounds: a tenth, 4 MiB and 16 files, each of which must
// be passed.
func TestHoldingDiffers(t *testing.T) {
	for _, tt := range []struct {
		was, is Holding
		want    bool
	}{
		{Holding{100 << 20, 0}, Holding{110 << 20, 0}, false},
		{Holding{100 << 20, 0}, Holding{110<<20 + 1, 0}, true},
		{Holding{100 << 20, 0}, Holding{90<<20 - 1, 0}, true},
		{Holding{1 << 20, 0}, Holding{5 << 20, 0}, false},
		{Holding{1 << 20, 0}, Holding{5<<20 + 1, 0}, true},
		{Holding{0, 10}, Holding{0, 26}, false},
		{Holding{0, 10}, Holding{0, 27}, true},
		{Holding{0, 1000}, Holding{0, 900}, false},
		{Holding{0, 1000}, Holding{0, 899}, true},
	} {
		if got := tt.is.differs(tt.was); got != tt.want {
			t.Errorf("%+v after %+v: %v", tt.is, tt.was, got)
		}
	}
}

// TestPredicatesChangeNothing asserts that asking what became of an action records
// nothing.
func TestPredicatesChangeNothing(t *testing.T) {
	m := WorkerHistory{ID: WorkerID{1, 1}}
	if m.ending() || m.terminated() || !m.attempt(PurgeSSLCache).ready(0) || m.Attempts != nil {
		t.Errorf("asking left %+v", m)
	}
	m.Attempts = map[string]*Attempt{TrimPools: {Tries: 1, Result: Done}}
	if m.attempt(TrimPools).repeats(Holding{Bytes: 1 << 30}, time.Hour) || *m.Attempts[TrimPools] != (Attempt{Tries: 1, Result: Done}) {
		t.Errorf("asking left %+v", m.Attempts[TrimPools])
	}
}

func TestReliefAgainNotBeforeItsPause(t *testing.T) {
	a := Attempt{Tries: 1, Result: Done, Retry: 10 * time.Second, After: Holding{Bytes: 100 << 20}}
	changed := Holding{Bytes: 200 << 20}
	if a.repeats(changed, 10*time.Second-1) || !a.repeats(changed, 10*time.Second) {
		t.Error("not at the end of its pause")
	}
}
