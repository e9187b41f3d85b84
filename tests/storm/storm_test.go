package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// host is a master-worker HAProxy on this machine: the storm without systemd and
// without a cgroup.
type host struct {
	t      *testing.T
	dir    string
	socket string
	cmd    *exec.Cmd
	exited chan struct{}
}

func newHost(t *testing.T) *host {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real HAProxy")
	}
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("needs haproxy")
	}
	dir := t.TempDir()
	return &host{t: t, dir: dir, socket: filepath.Join(dir, "master.sock")}
}

// layout listens on a loopback address made of our pid, so that tests of other
// processes never meet ours on a port.
func (h *host) layout() layout {
	pid := os.Getpid()
	return layout{Dir: h.dir,
		Address: fmt.Sprintf("127.%d.%d.%d", 64|pid>>16&63, pid>>8&255, pid&255)}
}

func (h *host) unit() unit {
	return unit{
		start:     h.start,
		reload:    func(context.Context) error { return h.cmd.Process.Signal(syscall.SIGUSR2) },
		cgroup:    func(context.Context) (string, error) { return "", nil },
		processes: func(ctx context.Context) (processes, error) { return showProc(ctx, h.socket) },
	}
}

func (h *host) start(context.Context) error {
	log, err := os.Create(filepath.Join(h.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	h.cmd = exec.Command("haproxy", "-W", "-S", h.socket, "-f", filepath.Join(h.dir, "haproxy.cfg"))
	h.cmd.Stdout, h.cmd.Stderr = log, log
	if err := h.cmd.Start(); err != nil {
		return err
	}
	h.exited = make(chan struct{})
	go func() { h.cmd.Wait(); close(h.exited) }()
	h.t.Cleanup(func() {
		h.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-h.exited:
		case <-time.After(20 * time.Second):
			h.cmd.Process.Kill()
			<-h.exited
		}
		if text, err := os.ReadFile(log.Name()); err == nil && h.t.Failed() {
			h.t.Logf("HAProxy's log:\n%s", text)
		}
	})
	return nil
}

// processes asks the master; a reload closes its socket for a moment, so it asks until
// there is an answer.
func (h *host) processes() processes {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		p, err := showProc(ctx, h.socket)
		if err == nil {
			return p
		}
		if ctx.Err() != nil {
			h.t.Fatal(err)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// small is a storm that a test can wait for.
func small(reloads int) settings {
	return settings{Kind: "cache", Unit: "haproxy", Reloads: reloads, Tunnels: 3, CacheSize: 1000,
		Interval: 300 * time.Millisecond, Settle: time.Second, ReloadTimeout: time.Minute}
}

func (h *host) storm(s settings, u unit) *report {
	h.t.Helper()
	r, err := storm(h.t.Context(), s, u, h.layout(), h.t.Output())
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// want compares the figures that a storm's end is judged by.
func want(t *testing.T, name string, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %d, want %d", name, got, want)
	}
}

func TestReloadsAndTunnelsSurvive(t *testing.T) {
	h := newHost(t)
	s := small(3)
	s.Before = "echo $RELOAD >>" + filepath.Join(h.dir, "before")
	r := h.storm(s, h.unit())
	if before, err := os.ReadFile(filepath.Join(h.dir,
		"before")); string(before) != "1\n2\n3\n4\n" {
		t.Errorf("the command was run before %q, %v", before, err)
	}
	want(t, "reloads failed", r.ReloadsFailed, 0)
	want(t, "tunnels opened", r.TunnelsOpened, 9)
	want(t, "tunnels alive", r.TunnelsAlive, 9)
	want(t, "live workers lost", r.LiveWorkerLost, 0)
	want(t, "fresh requests failed", r.FreshFailed, 0)
	if r.WorkersEnd == nil || *r.WorkersEnd != 4 {
		t.Errorf("workers at the end: got %v, want 4: each generation is held by its tunnels",
			r.WorkersEnd)
	}
	if r.FreshOK < 10 {
		t.Errorf("fresh requests: %d went well, want one a tenth of a second", r.FreshOK)
	}
	if r.PeakBytes != nil || r.OOMKills != nil || r.StallFullUs != nil {
		t.Errorf("memory figures without a cgroup: %+v", r)
	}
}

func TestBrokenConfiguration(t *testing.T) {
	h := newHost(t)
	s := small(3)
	s.BreakAt = 2
	r := h.storm(s, h.unit())
	want(t, "reloads failed", r.ReloadsFailed, 0)
	want(t, "reloads broken on purpose", r.ReloadsBroken, 1)
	want(t, "tunnels alive", r.TunnelsAlive, 9)
	want(t, "live workers lost", r.LiveWorkerLost, 0)
	if len(r.Notes) > 0 {
		t.Errorf("notes: %q", r.Notes)
	}
	if r.WorkersEnd == nil || *r.WorkersEnd != 3 {
		t.Errorf("workers at the end: got %v, want 3: one reload brought none", r.WorkersEnd)
	}
}

// TestOldWorkerEnds ends the first generation the way a guard would, and wants exactly
// its tunnels to be missed.
func TestOldWorkerEnds(t *testing.T) {
	h := newHost(t)
	u := h.unit()
	reloads, first := 0, 0
	reload := u.reload
	u.reload = func(ctx context.Context) error {
		reloads++
		switch reloads {
		case 1:
			first = h.processes().Workers[0]
		case 3:
			if err := syscall.Kill(first, syscall.SIGTERM); err != nil {
				t.Errorf("ending the first worker: %v", err)
			}
		}
		return reload(ctx)
	}
	r := h.storm(small(3), u)
	want(t, "tunnels broken", r.TunnelsBroken, 3)
	want(t, "tunnels of generation 1 broken", r.BrokenByGeneration[1], 3)
	want(t, "live workers lost", r.LiveWorkerLost, 0)
	want(t, "reloads failed", r.ReloadsFailed, 0)
	for _, b := range r.Broken {
		if b.How != "EOF" && b.How != "reset" {
			t.Errorf("a tunnel ended by %q, want EOF or reset", b.How)
		}
	}
}

// TestLiveWorkerEnds kills the worker in service, which takes the master down with it.
func TestLiveWorkerEnds(t *testing.T) {
	h := newHost(t)
	u := h.unit()
	u.reload = func(context.Context) error {
		if err := syscall.Kill(h.processes().Workers[0], syscall.SIGKILL); err != nil {
			t.Errorf("killing the worker: %v", err)
		}
		<-h.exited
		return nil
	}
	r := h.storm(small(1), u)
	want(t, "live workers lost", r.LiveWorkerLost, 1)
	want(t, "reloads failed", r.ReloadsFailed, 1)
	want(t, "tunnels broken", r.TunnelsBroken, 3)
	if r.LiveWorkerKept {
		t.Error("the live worker counts as kept")
	}
	if r.FreshFailed == 0 {
		t.Error("no fresh request failed, with no server to answer")
	}
	if r.WorkersEnd != nil {
		t.Errorf("workers at the end: got %d without a master to ask", *r.WorkersEnd)
	}
}

// TestReloadThatDoesNothing: the command went well, and yet the new generation is not
// there.
func TestReloadThatDoesNothing(t *testing.T) {
	h := newHost(t)
	u := h.unit()
	u.reload = func(context.Context) error { return nil }
	s := small(1)
	s.ReloadTimeout = 3 * time.Second
	r := h.storm(s, u)
	want(t, "reloads failed", r.ReloadsFailed, 1)
	want(t, "live workers lost", r.LiveWorkerLost, 0)
	if len(r.ReloadErrors) != 1 ||
		!strings.Contains(r.ReloadErrors[0], "waiting for generation 2") {
		t.Errorf("reload errors: %q", r.ReloadErrors)
	}
}

// TestMasterRefusesReload: the master says at once that its reload failed, and the
// storm does not wait for its timeout.
func TestMasterRefusesReload(t *testing.T) {
	h := newHost(t)
	u := h.unit()
	reload := u.reload
	u.reload = func(ctx context.Context) error {
		name := filepath.Join(h.dir, "haproxy.cfg")
		if err := os.WriteFile(name, []byte("nonsense\n"), 0o644); err != nil {
			return err
		}
		return reload(ctx)
	}
	r := h.storm(small(1), u)
	want(t, "reloads failed", r.ReloadsFailed, 1)
	want(t, "live workers lost", r.LiveWorkerLost, 0)
	if len(r.ReloadErrors) != 1 || !strings.Contains(r.ReloadErrors[0], "the master says") {
		t.Errorf("reload errors: %q", r.ReloadErrors)
	}
}

// TestHeap holds the measure of the map: what a worker takes more with it than without.
func TestHeap(t *testing.T) {
	h := newHost(t)
	private := func(mib int) int {
		t.Helper()
		s := small(1)
		s.HeapMiB = mib
		u := h.unit()
		start, pid := u.start, 0
		u.start = func(ctx context.Context) error {
			h.socket = filepath.Join(h.dir,
				"master.sock")
			return start(ctx)
		}
		kib := 0
		u.reload = func(context.Context) error {
			pid = h.processes().Workers[0]
			kib = rssAnon(t, pid)
			return h.cmd.Process.Signal(syscall.SIGUSR2)
		}
		h.storm(s, u)
		h.cmd.Process.Signal(syscall.SIGTERM)
		<-h.exited
		return kib >> 10
	}
	without, with := private(0), private(40)
	if more := with - without; more < 32 || more > 60 {
		t.Errorf("a map of 40 MiB made a worker %d MiB larger", more)
	}
}

// HAProxy loads certificates beside the map, and ends old workers itself.
func TestHardStopAndCertificates(t *testing.T) {
	s := small(2)
	s.Certificates, s.HeapMiB, s.HardStop = 3, 1, time.Millisecond
	h := newHost(t)
	r := h.storm(s, h.unit())
	want(t, "reloads failed", r.ReloadsFailed, 0)
	want(t, "tunnels broken", r.TunnelsBroken, r.TunnelsOpened)
}

// rssAnon is RssAnon of /proc/PID/status, in KiB.
func rssAnon(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(status))
	n, err := strconv.Atoi(fields[slices.Index(fields, "RssAnon:")+1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
