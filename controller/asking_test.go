package controller

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/tests/haproxytest"
)

// What a look without a daemon has proven, the next look of the same command does not ask
// for again.
func TestLooksRememberWorkers(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	w.reload()
	c := New(Config{Policy: decode(t, "targets: "+
		"[cgroup: "+group+"]\n"+purgeAlways), Procfs: "/proc", Cgroups: w.tree.Mount, Journal: w.journal})
	old := func() status.Worker {
		s := c.Inspect(t.Context())
		if len(s.Targets) != 1 || len(s.Targets[0].Masters) != 1 || len(s.Targets[0].Masters[0].Workers) != 2 {
			t.Fatalf("%+v, want one target with two workers", s.Targets)
		}
		return s.Targets[0].Masters[0].Workers[0]
	}
	w.Eventually("the old worker is stopping", func() error {
		if got := old(); got.State != haproxy.StateStopping.String() {
			return fmt.Errorf("%s: %s", got.State, got.Proof)
		}
		return nil
	})
	hang(t, w.Children()[0])
	if got := old(); got.State != haproxy.StateStopping.String() {
		t.Errorf("%s, %s; want the proof of the look before", got.State, got.Proof)
	}
}

// Workers that are silent together take no more time than describeTime: the last are not
// asked.
func TestDescribingSilentWorkersIsBounded(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	const old = 4
	for range old {
		w.reload()
	}
	var found []haproxy.Instance
	w.Eventually("four workers are stopping", func() (err error) {
		// A new scanner asks all of them at once, so their answers grow old together.
		if found, err = haproxy.NewScanner("/proc").Scan(t.Context(), w.Pids()); err != nil {
			return err
		}
		for _, o := range found[0].Workers[:old] {
			if o.State != haproxy.StateStopping {
				return fmt.Errorf("%d is %s: %s", o.PID, o.State, o.Why)
			}
		}
		return nil
	})
	for _, o := range found[0].Workers[:old] {
		hang(t, o.PID)
	}
	w.Eventually("the last is not "+
		"asked", func() error { // what it has answered before is shown for some seconds
		rows := DescribeMasters(t.Context(), "/proc", found, nil)[0].Workers
		if got := rows[old-1]; !strings.Contains(got.ConnError, "other workers took more than 3s") {
			return fmt.Errorf("connections %v, %q", got.Connections, got.ConnError)
		}
		return nil
	})
}

// hang stops a process until the test ends.
func hang(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGCONT) })
}
