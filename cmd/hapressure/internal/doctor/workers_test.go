package doctor

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/haproxy"
	"hapressure/tests/haproxytest"
)

// A worker that a client of its stats socket keeps is found once it is old.
func TestDoctorFindsAStuckWorker(t *testing.T) {
	stats := filepath.Join(t.TempDir(), "stats")
	run := haproxytest.Start(t, haproxytest.Config{Global: "stats socket " + stats})
	client, err := net.Dial("unix", stats)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("prompt\n")); err != nil {
		t.Fatal(err)
	}
	run.Reload()
	e, _ := sound(t)
	e.check = "haproxy"
	run.Eventually("the old worker is stopping", func() error {
		found, err := selector.Scan(t.Context(), haproxy.NewScanner("/proc"), run.Pids())
		if err != nil || len(found) != 1 || len(found[0].Workers) != 2 ||
			found[0].Workers[0].State != haproxy.StateStopping {
			return fmt.Errorf("found %v, %v", found, err)
		}
		e.found = found
		return nil
	})
	w := e.found[0].Workers[0]
	e.checkTraffic(t.Context(), w)
	if len(e.findings) > 0 {
		t.Errorf("a worker that stopped just now: %q", e.findings)
	}
	w.StoppingFor = controller.StuckAfter
	e.checkTraffic(t.Context(), w)
	want := "has been stopping for 1h and does not end, although it has no client connection"
	if f := e.findings; len(f) != 1 || f[0].Level != warning || !strings.Contains(f[0].Found, want) {
		t.Errorf("found %q, want %q", f, want)
	}
}

// A real process that a younger one has replaced, and that still accepts, is found: it
// did not take the signal to stop.
func TestDoctorFindsAStrandedProcess(t *testing.T) {
	run := haproxytest.StartAlone(t, haproxytest.Config{})
	old := run.Pids()[0]
	if err := syscall.Kill(old, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(old, syscall.SIGCONT) })
	young := run.LaunchInstead()
	scanner := haproxy.NewScanner("/proc")
	want := fmt.Sprintf("process %d is stranded: it accepts connections on ", old)
	run.Eventually("it is found", func() (err error) {
		e, _ := sound(t)
		if e.found, err = selector.Scan(t.Context(), scanner, run.Pids()); err != nil {
			return err
		}
		checkHAProxy(t.Context(), e)
		i := slices.IndexFunc(e.findings, func(f Finding) bool {
			return f.Level == warning && strings.HasPrefix(f.Found, want) &&
				strings.Contains(f.Found, fmt.Sprintf("although pid %d serves in its place", young))
		})
		if i < 0 {
			return fmt.Errorf("found %q", e.findings)
		}
		return nil
	})
}
