package haproxy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"hapressure/tests/haproxytest"
)

// What processes can do to make a Scan last. Each Scan has a bound of its own, whatever they do.

// Hundreds of children of one master that share tens of thousands of sockets: a Scan examines as many as it has time for, measures
// what it can, and goes on with the others in the next.
func TestScanOfACrowdIsBounded(t *testing.T) {
	const crowd = 400
	pids := haproxytest.Crowd(t, crowd, 19_000)
	s := NewScanner("/proc")
	examined := map[ID]bool{}
	for range 3 {
		began := time.Now()
		found, err := s.Scan(t.Context(), pids)
		took := time.Since(began)
		if err != nil || len(found) != 1 || len(found[0].Workers) != crowd {
			t.Fatalf("%d instances, %v", len(found), err)
		}
		if bound := 2 * (proofTime + measureTime); took > bound {
			t.Errorf("a Scan took %v, more than %v", took, bound)
		}
		before := len(examined)
		for _, w := range found[0].Workers {
			if w.State != Unknown {
				t.Fatalf("%v: %s", w.State, w.Why)
			}
			if w.Why != errNoProofTime.Error() {
				examined[w.ID] = true
			}
		}
		if len(examined) < crowd && len(examined) == before {
			t.Errorf("no further worker was examined; %d are by now", before)
		}
		t.Logf("%v, %d of %d examined", took, len(examined), crowd)
	}
}

// A process that the kernel lets no reader into is left behind, once, and costs little from then on. userfaultfd or a dead file system can
// do that for ever; here the read itself waits.
func TestProcessThatHoldsUpItsReaders(t *testing.T) {
	turn := newTurnstile()
	stuck := make(chan struct{})
	read := func() (int, error) { <-stuck; return 1, nil }
	if _, err := through(t.Context(), turn, read); !errors.Is(err, errHeldUp) {
		t.Errorf("%v, want errHeldUp", err)
	}
	for range 3 {
		_, err := through(t.Context(), turn, func() (int, error) { t.Error("a second reader was let in"); return 0, nil })
		if !errors.Is(err, errHeldUp) {
			t.Errorf("%v, want errHeldUp", err)
		}
	}
	close(stuck)
	haproxytest.Eventually(t, "it can be read again", func() error {
		n, err := through(t.Context(), turn, func() (int, error) { return 2, nil })
		if err == nil && n != 2 {
			err = fmt.Errorf("read %d", n)
		}
		return err
	})
}

// What a process wrote over its environment is parsed in a time that its length bounds.
func TestNoteOfMillionsOfEntries(t *testing.T) {
	for _, entry := range []string{"|", ";", "|type=w;fd=9;pid=1"} {
		note := []byte("HAPROXY_PROCESSES=" + strings.Repeat(entry, procLimit/len(entry)))
		allocated := testing.AllocsPerRun(1, func() { parseProcesses(note) })
		if limit := float64(maxNote); allocated > limit {
			t.Errorf("%q: %.0f allocations, want %.0f at the most", entry, allocated, limit)
		}
	}
}
