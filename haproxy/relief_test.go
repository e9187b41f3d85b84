package haproxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
	"hapressure/tests/haproxytest"
)

// stoppingWorker reloads h and returns the worker that stops by it, pinned.
func stoppingWorker(t *testing.T, h *haproxytest.HAProxy) *Stopping {
	t.Helper()
	s := NewScanner("/proc")
	h.SignalReload()
	in := scan(t, s, h, "one stopping and one current worker", hasStates(StateStopping,
		StateCurrent))
	p, err := s.Recheck(t.Context(), in.Workers[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Only the stopping worker becomes the kernel's first victim, and its value never falls.
func TestProtect(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{})
	tunnel := h.Tunnel()
	p := stoppingWorker(t, h)
	for _, tt := range []struct{ to, before, after int }{
		{900, 0, 900}, {1000, 900, 1000}, {900, 1000, 1000},
	} {
		got, err := p.Protect(tt.to)
		if err != nil || got != (Protected{tt.before, tt.after}) {
			t.Errorf("raised to %d: %+v, %v; want %d before and %d after", tt.to, got, err,
				tt.before, tt.after)
		}
		if adj, err := p.p.OOMScoreAdj(); err != nil || adj != tt.after {
			t.Errorf("oom_score_adj is %d, %v; want %d", adj, err, tt.after)
		}
	}
	for _, pid := range append(h.Children(), h.Master) {
		if pid == p.w.PID {
			continue
		}
		if adj, err := open(t, pid).p.OOMScoreAdj(); err != nil || adj != 0 {
			t.Errorf("oom_score_adj of pid %d, which is not stopping, is %d, %v", pid, adj, err)
		}
	}
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel: %v", err)
	}
}

// A process that runs another program by now, or none, is left alone.
func TestProtectOnlyItsProgram(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{})
	defer h.Tunnel().Close()
	p := stoppingWorker(t, h)
	p.w.exe = "/usr/sbin/other"
	if _, err := p.Protect(1000); !errors.Is(err, ErrNotStopping) {
		t.Errorf("another program: %v, want ErrNotStopping", err)
	}
	if adj, err := p.p.OOMScoreAdj(); err != nil || adj != 0 {
		t.Errorf("oom_score_adj is %d, %v", adj, err)
	}
}

func TestTrimPools(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{})
	var tunnels []net.Conn
	for range 300 {
		tunnels = append(tunnels, h.Tunnel())
	}
	p := stoppingWorker(t, h)
	for _, c := range tunnels[1:] {
		c.Close()
	}
	h.Eventually("the closed tunnels are gone", func() error {
		if !h.Ask(fmt.Sprintf("@!%d show info", p.w.PID), "\nCurrConns: 1\n") {
			return errors.New("CurrConns is not 1")
		}
		return nil
	})
	first, err := p.TrimPools(t.Context())
	if err != nil || first.Freed() == 0 {
		t.Errorf("%+v, %v: want something freed", first, err)
	}
	second, err := p.TrimPools(t.Context())
	if err != nil || second.Freed() > first.Freed()/4 {
		t.Errorf("second time: %+v, %v, after %+v", second, err, first)
	}
	if first.Stall == 0 && second.Stall == 0 { // a busy machine may hide one
		t.Error("of neither was the stall measured")
	}
	if err := haproxytest.Echo(tunnels[0]); err != nil {
		t.Errorf("tunnel: %v", err)
	}
}

// While a worker is stopped it takes no signal, and its first thread seems to wait for
// events. That is part of the stall: it is over when the signal was handled.
func TestTrimPoolsMeasuresTheStall(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{})
	tunnel := h.Tunnel()
	p := stoppingWorker(t, h)
	if err := p.signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.Eventually("the worker is stopped", func() error { return inState(p, p.w.PID, 'T') })
	type trim struct {
		Trimmed
		err error
	}
	done := make(chan trim, 1)
	go func() {
		res, err := p.TrimPools(t.Context())
		done <- trim{res, err}
	}()
	var pending time.Time
	h.Eventually("the signal is sent, and was looked for some times", func() error {
		st, err := proc.ReadStatus("/proc", p.w.PID)
		switch {
		case err != nil:
			return err
		case st.Pending&sigquit == 0:
			return errors.New("SIGQUIT is not pending")
		case pending.IsZero():
			pending = time.Now()
		}
		if time.Since(pending) < 20*stallStep {
			return errors.New("it is pending for a moment only")
		}
		return nil
	})
	if err := p.signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	stopped := time.Since(pending)
	res := <-done
	if res.err != nil || res.Stall != 0 &&
		res.Stall < stopped { // 0 on a machine that is too busy for it to be seen
		t.Errorf("trimming took %v, %v; want at least the %v for which the worker was stopped",
			res.Stall, res.err, stopped)
	}
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel: %v", err)
	}
}

// A worker whose standard error no process reads would sleep in the write of its table.
func TestTrimPoolsLeavesAWorkerWhoseStderrIsFull(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	h := haproxytest.Start(t, haproxytest.Config{Stderr: w})
	var tunnels []net.Conn
	for range 20 {
		tunnels = append(tunnels, h.Tunnel())
	}
	p := stoppingWorker(t, h)
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", w.Fd()), unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for err == nil {
		_, err = unix.Write(fd, make([]byte, 512))
	}
	if _, err := p.TrimPools(t.Context()); err == nil || Permanent(err) ||
		!strings.Contains(err.Error(), "no process has read") {
		t.Errorf("trimming: %v, want an error that may pass", err)
	}
	for _, c := range tunnels {
		if err := haproxytest.Echo(c); err != nil {
			t.Fatalf("tunnel: %v", err)
		}
	}
}

// SIGQUIT would end a process that does not handle it.
func TestTrimPoolsOnlyWithAHandler(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	p, err := unproven(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.TrimPools(t.Context())
	if !errors.Is(err, errNoHandler) || !Permanent(err) {
		t.Errorf("%v, want it refused", err)
	}
	if !p.p.Alive() {
		t.Error("it has ended")
	}
}
