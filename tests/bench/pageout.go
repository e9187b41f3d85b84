package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy"
	"hapressure/haproxy/proc"
	"hapressure/tests/haproxytest"
)

// pageOut measures what marking as cold and paging out gives back of a stopping worker
// with a large configuration, what it costs in swap, and what its tunnels feel of it.
func (s settings) pageOut(ctx context.Context, t *table) error {
	for _, program := range s.programs() {
		release, err := releaseOf(program)
		if err != nil {
			return err
		}
		for kind := range strings.SplitSeq(s.swaps, ",") {
			if err := s.pageOutOf(ctx, t, program, release, kind); err != nil {
				return fmt.Errorf("HAProxy %s, %s: %w", release, kind, err)
			}
		}
	}
	return nil
}

func (s settings) pageOutOf(ctx context.Context, t *table, program, release, kind string) error {
	swap, err := swapOn(kind, s.swapSize<<20)
	if err != nil {
		return err
	}
	defer swap.off()
	progress("HAProxy %s, %s: loading the configuration", release, kind)
	w, err := s.startLarge(ctx, program)
	if err != nil {
		return err
	}
	defer w.stop()
	p, err := w.proven(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	row := func(what, format string, args ...any) {
		t.add(release+", "+kind+": "+what, format, args...)
	}

	trips := ping10(w.used)
	defer trips.stop()
	phase := func(name string, do func() error) error {
		progress("HAProxy %s, %s: %s", release, kind, name)
		trips.take()
		cpu, began := cpuOf(w.pid), time.Now()
		if err := do(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		took := time.Since(began)
		used := cpuOf(w.pid) - cpu
		got, err := trips.take()
		if err != nil {
			return fmt.Errorf("using the tunnels %s: %w", name, err)
		}
		st, err := proc.ReadStatus("/proc", w.pid)
		if err != nil {
			return err
		}
		row("round trip "+name, "median %s, p99 %s, p99.9 %s, worst %s of %d in %.1f s",
			ms(median(got)), ms(quantile(got, 0.99)), ms(quantile(got, 0.999)),
			ms(quantile(got, 1)), len(got), took.Seconds())
		row("worker "+name, "%.0f MiB in RAM, %.0f MiB in swap, %.1f %% of a CPU", mibs(st.RSSAnon),
			mibs(st.Swap), 100*used.Seconds()/took.Seconds())
		return nil
	}
	rest := func() error { return pause(ctx, s.pageOutFor) }
	if err := phase("before", rest); err != nil {
		return err
	}
	if err := phase("after cold", func() error {
		began := time.Now()
		err := p.Cold(ctx)
		row("cold", "took %s", ms(time.Since(began)))
		return errors.Join(err, rest())
	}); err != nil {
		return err
	}
	if err := phase("during page-out", func() error {
		return s.pageOutAll(ctx, p, row)
	}); err != nil {
		return err
	}
	row("swap", "%s", swap.use())
	if err := phase("after page-out", rest); err != nil {
		return err
	}
	var woken []time.Duration
	for _, c := range w.idle {
		began := time.Now()
		if err := haproxytest.Echo(c); err != nil {
			return err
		}
		woken = append(woken, time.Since(began))
	}
	row("first round trip of an idle tunnel", "median %s, worst %s of %d", ms(median(woken)),
		ms(quantile(woken, 1)), len(woken))
	return phase("after that", rest)
}

// pageOutAll pages a worker out until nothing is left to be moved.
func (s settings) pageOutAll(
	ctx context.Context, p *haproxy.Stopping, row func(string, string, ...any),
) error {
	var before, used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		return err
	}
	began, freed := time.Now(), uint64(0)
	pace := haproxy.PageOutPace{PerSecond: s.pageOutRate << 20, Busy: s.busy}
	for more := true; more; {
		out, err := p.PageOut(ctx, pace, func() error { return nil })
		freed, more = freed+out.Freed(), out.More
		if err != nil {
			return err
		}
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return err
	}
	cpu := time.Duration(used.Stime.Nano() - before.Stime.Nano())
	row("page-out", "%.0f MiB in %.1f s, %.2f s of kernel's CPU time", mibs(freed),
		time.Since(began).Seconds(), cpu.Seconds())
	return nil
}

// large is a stopping worker with a large configuration.
type large struct {
	*stopping
	used []net.Conn // tunnels that are used
	idle []net.Conn // tunnels that are not
}

// startLarge starts a HAProxy with a large map and many certificates, and reloads it.
func (s settings) startLarge(
	ctx context.Context, program string, via ...string,
) (*large, error) {
	srv, err := startProgram(ctx, program, smallCache, via...)
	if err != nil {
		return nil, err
	}
	w, err := s.enlarge(ctx, srv)
	if err != nil {
		srv.stop()
	}
	return w, err
}

func (s settings) enlarge(ctx context.Context, srv *server) (*large, error) {
	if err := srv.writeLarge(s.entries, s.certs); err != nil {
		return nil, err
	}
	if _, err := srv.reload(ctx, smallCache); err != nil {
		return nil, err
	}
	var w large
	for range 10 {
		used, err := srv.openTunnel()
		if err != nil {
			return nil, err
		}
		idle, err := srv.openTunnel()
		if err != nil {
			return nil, err
		}
		w.used, w.idle = append(w.used, used), append(w.idle, idle)
	}
	var err error
	w.stopping, err = srv.leave(ctx)
	return &w, err
}

// writeLarge adds a frontend with a map of so many entries and so many certificates.
func (s *server) writeLarge(entries, certs int) error {
	f, err := os.Create(s.file("hosts.map"))
	if err != nil {
		return err
	}
	var b strings.Builder
	for i := range entries {
		fmt.Fprintf(&b, "host%07d.customers.example.com backend%05d\n", i, i%50000)
	}
	_, err = f.WriteString(b.String())
	if err := errors.Join(err, f.Close(), os.Mkdir(s.file("certs"), 0o700)); err != nil {
		return err
	}
	for i := range certs {
		name := filepath.Join(s.file("certs"), fmt.Sprintf("%05d.pem", i))
		if err := haproxytest.WriteCert(name); err != nil {
			return err
		}
	}
	s.sections = fmt.Sprintf(`frontend large
    mode http
    bind unix@%s ssl crt %s
    http-request set-header x-backend %%[req.hdr(host),lower,map(%s)]
`, s.file("large.sock"), s.file("certs"), s.file("hosts.map"))
	return nil
}

// proven returns the worker as one that may be changed.
func (w *stopping) proven(ctx context.Context) (*haproxy.Stopping, error) {
	pids, err := w.pids()
	if err != nil {
		return nil, err
	}
	recheck, err := stoppingPID(ctx, w.pid, pids)
	if err != nil {
		return nil, err
	}
	return recheck()
}

// tripEvery is the time between two messages through one tunnel: rare enough that ten
// tunnels do not make a worker busy.
const tripEvery = 50 * time.Millisecond

// trips are the round trips through tunnels in use.
type trips struct {
	end  chan struct{}
	all  sync.WaitGroup
	mu   sync.Mutex
	took []time.Duration
	err  error
}

// ping10 uses tunnels until it is stopped.
func ping10(tunnels []net.Conn) *trips {
	t := &trips{end: make(chan struct{})}
	for i, c := range tunnels {
		t.all.Go(func() {
			time.Sleep(time.Duration(i) * tripEvery / time.Duration(len(tunnels)))
			tick := time.NewTicker(tripEvery)
			defer tick.Stop()
			for {
				select {
				case <-t.end:
					return
				case <-tick.C:
				}
				began := time.Now()
				err := haproxytest.Echo(c)
				t.mu.Lock()
				t.took, t.err = append(t.took, time.Since(began)), errors.Join(t.err, err)
				t.mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	return t
}

// take returns the round trips since the last call.
func (t *trips) take() ([]time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := t.took
	t.took = nil
	return took, t.err
}

func (t *trips) stop() { close(t.end); t.all.Wait() }

func cpuOf(pid int) time.Duration {
	st, err := proc.ReadStat("/proc", pid)
	if err != nil {
		return 0
	}
	return st.CPU
}

// swapped is a device or file that this machine swaps to.
type swapped struct {
	kind, path string
	off        func()
}

// swapOn gives this machine swap of a kind.
func swapOn(kind string, size int64) (*swapped, error) {
	s := &swapped{kind: kind}
	var undo func()
	switch kind {
	case "zram":
		b, err := os.ReadFile("/sys/class/zram-control/hot_add")
		if err != nil {
			return nil, fmt.Errorf("adding a zram device (modprobe zram): %w", err)
		}
		number := strings.TrimSpace(string(b))
		s.path = "/dev/zram" + number
		if err := os.WriteFile("/sys/block/zram"+number+"/disksize", fmt.Append(nil, size),
			0); err != nil {
			return nil, err
		}
		undo = func() { os.WriteFile("/sys/class/zram-control/hot_remove", []byte(number), 0) }
	case "file":
		f, err := os.CreateTemp("", "hapressure-bench-swap-")
		if err != nil {
			return nil, err
		}
		s.path = f.Name()
		undo = func() { os.Remove(s.path) }
		err = errors.Join(f.Chmod(0o600), unix.Fallocate(int(f.Fd()), 0, 0, size), f.Close())
		if err != nil {
			undo()
			return nil, err
		}
	default:
		return nil, fmt.Errorf("unknown kind of swap %q: want zram or file", kind)
	}
	for _, command := range []string{"mkswap", "swapon"} {
		if out, err := exec.Command(command, s.path).CombinedOutput(); err != nil {
			undo()
			return nil, fmt.Errorf("%s %s: %w\n%s", command, s.path, err, out)
		}
	}
	s.off = func() { exec.Command("swapoff", s.path).Run(); undo() }
	return s, nil
}

// use says what the swap holds, and what it takes for that.
func (s *swapped) use() string {
	if s.kind != "zram" {
		return "on a disk"
	}
	b, err := os.ReadFile("/sys/block/" + filepath.Base(s.path) + "/mm_stat")
	if err != nil {
		return err.Error()
	}
	var holds, compressed, takes uint64
	if _, err := fmt.Sscan(string(b), &holds, &compressed, &takes); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%.0f MiB take %.0f MiB of RAM", mibs(holds), mibs(takes))
}

func mibs(n uint64) float64 { return float64(n) / (1 << 20) }
