package haproxy

import (
	"testing"
	"time"

	"hapressure/tests/haproxytest"
)

// What processes can do to make a Scan last. Each Scan has a bound of its own, whatever
// they do.

// Hundreds of children of one master that share tens of thousands of sockets: a Scan
// examines as many as it has time for, measures what it can, and continues with the
// others in the next.
func TestScanOfACrowdIsBounded(t *testing.T) {
	const crowd = 400
	pids := haproxytest.Crowd(t, crowd, 19_000)
	s := NewScanner("/proc")
	examined := map[ID]bool{}
	for range 2 {
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
			if w.State != StateUnknown {
				t.Fatalf("%v: %s", w.State, w.Why)
			}
			if w.Why != errNoProofTime.Error() {
				examined[w.ID] = true
			}
		}
		if len(examined) < crowd && len(examined) == before {
			t.Errorf("no further worker was examined; %d are examined", before)
		}
		t.Logf("%v, %d of %d examined", took, len(examined), crowd)
	}
}
