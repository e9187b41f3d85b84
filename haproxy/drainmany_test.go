package haproxy

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"hapressure/tests/haproxytest"
)

// More workers than the master's CLI has slots are drained and end, while an operator
// asks the master: no slot stays taken, the master answers, and no descriptor of it is
// left.
func TestDrainsTakeNoSlot(t *testing.T) {
	const many = 12
	h := haproxytest.Start(t, haproxytest.Config{Release: haproxytest.Newest()})
	s := NewScanner("/proc")
	want := []State{StateCurrent}
	answers := func() {
		t.Helper()
		h.Eventually("the master answers", func() error {
			if !h.Ask("show proc", "") {
				return errors.New("it does not")
			}
			return nil
		})
	}
	reload := func() Instance {
		h.Tunnel()
		h.SignalReload()
		want = append([]State{StateStopping}, want...)
		return scan(t, s, h, fmt.Sprintf("%d stopping workers", len(want)-1), hasStates(want...))
	}
	in := reload()
	answers()
	files := masterFiles(t, h) - 1 // each worker takes one, and one worker is to stay
	for range many - 1 {
		in = reload()
	}
	for _, w := range in.Workers[:many] {
		drainAndEnd(t, s, w)
		answers()
	}
	h.Eventually("all is given back", func() error {
		slots, left := slotsTaken(t, h), masterFiles(t, h)
		if slots > 0 || left > files {
			return fmt.Errorf("%d slots of the CLI are taken, and there are %d descriptors, "+
				"want %d",
				slots, left, files)
		}
		return nil
	})
}

func drainAndEnd(t *testing.T, s *Scanner, w Worker) {
	t.Helper()
	p, err := s.Recheck(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if d, err := (Replaced{p}).Drain(t.Context(), Pace{}); err != nil || d.Sessions != 1 {
		t.Errorf("worker %d: %+v, %v, want one session shut down", w.PID, d, err)
	}
	if _, err := (Replaced{p}).Terminate(t.Context(), time.Second); err != nil {
		t.Errorf("worker %d: %v", w.PID, err)
	}
}

// slotsTaken counts the connections of the master's CLI: sockets with its path that are
// connected.
func slotsTaken(t *testing.T, h *haproxytest.HAProxy) (n int) {
	t.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/unix", h.Master))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) == 8 && f[5] == "03" && strings.HasPrefix(f[7], h.Inside("master.sock")) {
			n++
		}
	}
	return n
}
