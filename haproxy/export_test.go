package haproxy

import (
	"testing"

	"hapressure/haproxy/proc"
)

// unproven returns a process as a stopping worker without any proof: for tests that
// change current workers, and processes that are no workers at all.
func unproven(pid int) (*Stopping, error) {
	p, err := proc.Open("/proc", ID{PID: pid})
	if err != nil {
		return nil, err
	}
	exe, err := proc.Program("/proc", pid)
	if err != nil {
		p.Close()
		return nil, err
	}
	return &Stopping{Worker{ID: p.ID, State: StateStopping, procfs: "/proc", exe: exe}, p}, nil
}

// recognise makes a Scanner take processes for HAProxy.
func recognise(t *testing.T, s *Scanner, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		p, err := readProcess("/proc", pid)
		if err != nil {
			t.Fatal(err)
		}
		s.programs.known[p.ID] = program{path: p.exe, isHAProxy: true}
	}
}

// open is unproven for the duration of a test.
func open(t *testing.T, pid int) *Stopping {
	t.Helper()
	p, err := unproven(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}
