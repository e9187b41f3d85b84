package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"hapressure/haproxy/proc"
	"hapressure/haproxy/shctx"
	"hapressure/tests/cachetest"
	"hapressure/tests/haproxytest"
)

const cacheSize = 50_000 // blocks of 248 bytes: 12 MiB a worker

// scan waits until a scan of h satisfies cond, and returns its instance.
func scan(t *testing.T, s *Scanner, h *haproxytest.HAProxy, what string,
	cond func(Instance) bool) Instance {
	t.Helper()
	var in Instance
	h.Eventually(what, func() error {
		found, err := s.Scan(t.Context(), h.Pids())
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("%d instances", len(found))
		}
		if in = found[0]; !cond(in) {
			return fmt.Errorf("%+v", in)
		}
		return nil
	})
	return in
}

func states(in Instance) []State {
	var s []State
	for _, w := range in.Workers {
		s = append(s, w.State)
	}
	return s
}

func hasStates(want ...State) func(Instance) bool {
	return func(in Instance) bool { return slices.Equal(states(in), want) }
}

// reload makes a new generation and returns the worker that the reload stopped, the only
// one besides the new.
func reload(t *testing.T, s *Scanner, h *haproxytest.HAProxy) Worker {
	t.Helper()
	if h.Master == 0 {
		h.LaunchInstead()
	} else {
		h.SignalReload()
	}
	return scan(t, s, h, "one stopping and one current worker", hasStates(StateStopping,
		StateCurrent)).Workers[0]
}

func TestScanFollowsGenerations(t *testing.T) {
	t.Parallel()
	for _, noCLI := range []bool{false, true} {
		t.Run(fmt.Sprintf("noCLI=%v", noCLI), func(t *testing.T) {
			h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize, NoCLI: noCLI})
			s := NewScanner("/proc")
			scan(t, s, h, "one current worker", hasStates(StateCurrent))
			h.Tunnel()
			h.SignalReload()
			in := scan(t, s, h, "one stopping and one current worker", hasStates(StateStopping,
				StateCurrent))
			if in.Master.PID != h.Master {
				t.Errorf("master %d, want %d", in.Master.PID, h.Master)
			}
			if in.CLIErr != nil {
				t.Errorf("CLI error %v", in.CLIErr)
			}
			old, cur := in.Workers[0], in.Workers[1]
			if old.Generation != 1 || cur.Generation != 2 {
				t.Errorf("generations %d, %d", old.Generation, cur.Generation)
			}
			if old.CacheErr != nil || old.Cache < cacheSize*shctx.BlockStride {
				t.Errorf("old worker's cache: %d, %v", old.Cache, old.CacheErr)
			}
			if cur.SizeErr != nil || cur.Shared < cacheSize*shctx.BlockStride || cur.Private == 0 {
				t.Errorf("current worker's size: %d shared, %d private, %v", cur.Shared,
					cur.Private, cur.SizeErr)
			}
			h.Tunnel()
			h.SignalReload()
			in = scan(t, s, h, "two stopping workers", hasStates(StateStopping, StateStopping,
				StateCurrent))
			if g := in.Workers[2].Generation; g != 3 {
				t.Errorf("generation %d, want 3", g)
			}
			if in.Workers[0].StoppingFor < in.Workers[1].StoppingFor {
				t.Error("the older worker has been stopping for less time")
			}
		})
	}
}

// A failed reload leaves the live worker; it must never be taken for a stopping one,
// whatever `show proc` says.
func TestFailedReloadLeavesTheLiveWorkerCurrent(t *testing.T) {
	t.Parallel()
	for _, noCLI := range []bool{false, true} {
		t.Run(fmt.Sprintf("noCLI=%v", noCLI), func(t *testing.T) {
			h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize, NoCLI: noCLI})
			s := NewScanner("/proc")
			live := scan(t, s, h, "one current worker", hasStates(StateCurrent)).Workers[0]
			h.Tunnel()
			h.WriteConfig("nonsense")
			h.SignalReload()
			h.Eventually("the reload has failed", func() error {
				if log := h.Log(); !strings.Contains(log, "failure!") && !strings.Contains(log,
					"Failed to load worker") { // up to 3.0, and since
					return errors.New("no failure in the log yet")
				}
				return nil
			})
			in := scan(t, s, h, "the live worker is current", hasStates(StateCurrent))
			if len(in.Workers) != 1 || in.Workers[0].ID != live.ID ||
				in.Workers[0].State == StateStopping {
				t.Fatalf("after a failed reload: %+v", in.Workers)
			}
			// Not even a wrong proof lets it be touched: it listens.
			for _, state := range []State{in.Workers[0].State, StateStopping} {
				w := in.Workers[0]
				w.State, w.proven = state, state
				if _, err := s.Recheck(t.Context(), w); !errors.Is(err, ErrNotStopping) {
					t.Errorf("Recheck of the live worker as %v: %v, want ErrNotStopping", state,
						err)
				}
			}
		})
	}
}

// A purge that is stopped leaves the header emptied and the pages there. The next one
// continues it without another freeze.
func TestStoppedSweepIsTakenUp(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	s := NewScanner("/proc")
	tunnel := h.Tunnel()
	p, err := s.Recheck(t.Context(), reload(t, s, h))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	res, err := p.PurgeSSLCache(ended, h.Pids())
	if !errors.Is(err, context.Canceled) || res.Freed() != 0 || res.Held == 0 {
		t.Fatalf("stopped purge: %+v, %v", res, err)
	}
	res, err = purge(t.Context(), p, h.Pids())
	if err != nil || res.After > pageSize || res.Freed() == 0 || res.Held != 0 {
		t.Errorf("next purge: %+v, %v", res, err)
	}
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel: %v", err)
	}
}

func TestPurgeFreesTheCacheAndKeepsTheTunnels(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	s := NewScanner("/proc")
	var tunnels []net.Conn
	for range 10 {
		tunnels = append(tunnels, h.Tunnel())
	}
	old := reload(t, s, h)

	p, err := s.Recheck(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	res, err := purge(t.Context(), p, h.Pids())
	if err != nil {
		t.Fatal(err)
	}
	if res.Freed() < cacheSize*shctx.BlockStride-2*pageSize || res.After > pageSize {
		t.Errorf("purge: %+v", res)
	}
	for i, c := range tunnels {
		if err := haproxytest.Echo(c); err != nil {
			t.Errorf("tunnel %d after the purge: %v", i, err)
		}
	}
	again, err := purge(t.Context(), p, h.Pids())
	if err != nil || again.Freed() != 0 || again.Held != 0 {
		t.Errorf("a second purge: %+v, %v, want nothing done", again, err)
	}
}

// hold runs fn while all threads of p are stopped, as freeze does, but lets it take as
// long as a test may. What tests read and copy takes longer than a purge: on a busy
// machine the kernel's timer would kill the test program.
func hold(p *proc.Process, fn func() error) (held time.Duration, err error) {
	return p.Freeze(haproxytest.Deadline, never, fn)
}

// refill makes an emptied cache usable again, as shctx_init does, so that one worker can
// be purged many times.
func refill(t *testing.T, p *Stopping) {
	t.Helper()
	c, err := findTLSCache(p.p, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.cache.Empty {
		t.Fatalf("after a purge: %+v", c.cache)
	}
	l := c.cache.Layout
	mem, err := syscall.Mmap(int(c.Fd()), 0, int(c.Mapping.Len()),
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(mem)
	fresh := make([]byte, len(mem))
	copy(fresh, mem[:l.FirstBlock])
	cachetest.WriteTLS(fresh, l, c.Mapping.Start, cacheSize)
	// nothing leads to the blocks yet, so only what follows needs the threads still
	copy(mem[l.FirstBlock:], fresh[l.FirstBlock:])
	lock := (*uint64)(unsafe.Pointer(&mem[shctx.OffLock]))
	for done := false; !done; {
		_, err := hold(p.p, func() error {
			if done = atomic.LoadUint64(lock) == 0; done {
				copy(mem[shctx.OffAvail:l.FirstBlock], fresh[shctx.OffAvail:])
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrCannotStop) {
			t.Fatal(err)
		}
	}
}

// What the torture shows only by chance: while the cache's header is written no thread of
// the worker runs, and then all do.
func TestStillStopsEveryThread(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize, Threads: 4})
	p, err := unproven(h.Children()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	stopped := func() (n int) {
		tids, err := p.p.Threads()
		if err != nil {
			t.Error(err)
		}
		for _, tid := range tids {
			if st, err := proc.ReadStat(p.p.Path("task"), tid); err != nil {
				t.Error(err)
			} else if st.State == 't' {
				n++
			}
		}
		return n
	}
	var during int
	h.Eventually("the threads are stopped", func() error {
		_, err := hold(p.p, func() error { during = stopped(); return nil })
		return err
	})
	if after := stopped(); during != 4 || after != 0 {
		t.Errorf("%d threads stopped during, %d after; want 4 and 0", during, after)
	}
}

func TestHTTPCacheIsRefused(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: 0,
		Sections: "cache big\n    total-max-size 20\n"})
	p, err := unproven(h.Children()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.PurgeSSLCache(t.Context(), h.Pids())
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("purge of a worker without a TLS cache: %v, want a refusal", err)
	}
	t.Log(err)
}

func TestSharedCacheIsRefused(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	h.Tunnel()
	s := NewScanner("/proc")
	old := reload(t, s, h)
	p, err := s.Recheck(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := findTLSCache(p.p, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !slices.Contains(p.w.shared[old.PID], c.Mapping.Inode) {
		t.Errorf("the cache's inode %d is not among those remembered of its worker: %v",
			c.Mapping.Inode, p.w.shared)
	}
	// This process becomes the second owner.
	mem, err := syscall.Mmap(int(c.Fd()), 0, int(pageSize), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(mem)
	_, err = p.PurgeSSLCache(t.Context(), append(h.Pids(), os.Getpid()))
	if !errors.Is(err, ErrManyOwners) {
		t.Errorf("purge of a cache with two owners: %v", err)
	}
}

// A worker that another process traces cannot be frozen. The purge fails and writes
// nothing.
func TestTracedWorkerIsRefused(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	p, err := unproven(h.Children()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("this test needs strace: %v", err)
	}
	cmd := exec.Command(strace, "-f", "-o", "/dev/null", "-p", fmt.Sprint(p.w.PID))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Signal(syscall.SIGINT); cmd.Wait() }()
	h.Eventually("strace holds the worker", func() error {
		b, err := os.ReadFile(p.p.Path("status"))
		if err == nil && !bytes.Contains(b, fmt.Appendf(nil, "TracerPid:\t%d\n", cmd.Process.Pid)) {
			err = errors.New("not yet traced")
		}
		return err
	})
	before, err := p.findResident()
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.PurgeSSLCache(t.Context(), h.Pids())
	if !errors.Is(err, ErrCannotStop) {
		t.Errorf("purge of a traced worker: %v", err)
	}
	if after, err := p.findResident(); err != nil || after != before {
		t.Errorf("its cache went from %d to %d bytes, %v", before, after, err)
	}
}

// findResident measures the cache of p, which must be recognised and not emptied.
func (p *Stopping) findResident() (uint64, error) {
	c, err := findTLSCache(p.p, os.O_RDWR)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if c.cache.Empty {
		return 0, errors.New("it was emptied")
	}
	return c.Resident()
}

func TestDrainAndTerminate(t *testing.T) {
	t.Parallel()
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	s := NewScanner("/proc")
	var tunnels []net.Conn
	for range 5 {
		tunnels = append(tunnels, h.Tunnel())
	}
	old := reload(t, s, h)
	young := h.Tunnel()
	p, err := s.Recheck(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	d, err := (Replaced{p}).Drain(t.Context(), Pace{Spread: 200 * time.Millisecond, PerSecond: 100})
	if err != nil || d.Sessions < len(tunnels) || d.Left {
		t.Errorf("drain: %+v, %v", d, err)
	}
	for i, c := range tunnels {
		if err := haproxytest.Echo(c); err == nil {
			t.Errorf("tunnel %d is still open", i)
		}
	}
	if _, err := (Replaced{p}).Terminate(t.Context(), haproxytest.Deadline); err != nil ||
		p.p.Alive() {
		t.Errorf("terminate: %v", err)
	}
	if err := haproxytest.Echo(young); err != nil {
		t.Errorf("a tunnel of the current worker: %v", err)
	}
}

// A worker that cannot answer SIGTERM is killed after its grace.
func TestTerminateKillsAWorkerThatHangs(t *testing.T) {
	t.Parallel()
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	s := NewScanner("/proc")
	h.Tunnel()
	old := reload(t, s, h)
	p := open(t, old.PID)
	if err := p.signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.Eventually("the worker stands still", func() error {
		st, err := proc.ReadStat("/proc", p.w.PID)
		if err == nil && st.State != 'T' {
			err = fmt.Errorf("state %c", st.State)
		}
		return err
	})
	killed, err := (Replaced{p}).Terminate(t.Context(), 50*time.Millisecond)
	if err != nil || !killed || p.p.Alive() {
		t.Errorf("terminate: %+v, %v", killed, err)
	}
	if _, err := proc.Open("/proc", old.ID); !errors.Is(err, ErrGone) {
		t.Errorf("opening a process that is gone: %v", err)
	}
}

// The worker continues when its tracer dies at any instruction: here the tracer's thread
// ends without detaching.
func TestWorkerGoesOnWhenItsTracerDies(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	p, err := unproven(h.Children()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	tunnel := h.Tunnel()
	dieStopped(t, p)
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel: %v", err)
	}
	if res, err := purge(t.Context(), p, h.Pids()); err != nil || res.Freed() == 0 {
		t.Errorf("purge after that: %+v, %v", res, err)
	}
}
