package proc

import (
	"errors"
	"fmt"
	"testing"

	"hapressure/tests/haproxytest"
)

// A process that the kernel lets no reader into is left behind, once, and costs little
// from then on. userfaultfd or a dead file system can do that for ever; here the read
// itself waits.
func TestProcessThatHoldsUpItsReaders(t *testing.T) {
	turn := NewTurnstile()
	stuck := make(chan struct{})
	read := func() (int, error) { <-stuck; return 1, nil }
	if _, err := Through(t.Context(), turn, read); !errors.Is(err, errHeldUp) {
		t.Errorf("%v, want errHeldUp", err)
	}
	for range 3 {
		_, err := Through(t.Context(), turn, func() (int,
			error) {
			t.Error("a second reader was let in")
			return 0, nil
		})
		if !errors.Is(err, errHeldUp) {
			t.Errorf("%v, want errHeldUp", err)
		}
	}
	close(stuck)
	haproxytest.Eventually(t, "it can be read again", func() error {
		n, err := Through(t.Context(), turn, func() (int, error) { return 2, nil })
		if err == nil && n != 2 {
			err = fmt.Errorf("read %d", n)
		}
		return err
	})
}
