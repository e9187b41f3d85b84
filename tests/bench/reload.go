package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// programs are paths of HAProxy, a flag that may be repeated.
type programs []string

// programs are the HAProxies to measure.
func (s settings) programs() programs {
	if len(s.haproxies) == 0 {
		return programs{"haproxy"}
	}
	return s.haproxies
}

func (p *programs) String() string { return strings.Join(*p, ", ") }

func (p *programs) Set(path string) error {
	*p = append(*p, path)
	return nil
}

// reload compares reloads of HAProxy without hapressure and beside it: one that loads
// for long, and many in a row.
func (s settings) reload(ctx context.Context, t *table) error {
	if err := openFiles(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hapressure-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	hapressure, err := buildProgram(ctx, dir)
	if err != nil {
		return err
	}
	for _, program := range s.programs() {
		release, err := releaseOf(program)
		if err != nil {
			return err
		}
		if s.load > 0 {
			if err := s.slowReload(ctx, t, hapressure, program, release); err != nil {
				return fmt.Errorf("HAProxy %s, one slow reload: %w", release, err)
			}
		}
		if s.reloads > 0 {
			if err := s.manyReloads(ctx, t, hapressure, program, release); err != nil {
				return fmt.Errorf("HAProxy %s, many reloads: %w", release, err)
			}
		}
	}
	return nil
}

func releaseOf(program string) (release string, err error) {
	out, err := exec.Command(program, "-v").Output()
	if _, serr := fmt.Sscanf(string(out), "HAProxy version %s", &release); serr != nil {
		return "", fmt.Errorf("reading the version of %s: %q, %w", program, out,
			errors.Join(err, serr))
	}
	return release, nil
}

// modes are what is compared.
var modes = []struct {
	name  string
	start func(ctx context.Context, hapressure string, srv *server) (*neighbour, error)
}{
	{"without", func(context.Context, string, *server) (*neighbour, error) {
		return &neighbour{},
			nil
	}},
	{"with", startNeighbour},
}

// slowReload measures one reload that a FIFO in place of a file of addresses holds up,
// and the reload after it.
func (s settings) slowReload(ctx context.Context, t *table, hapressure, program,
	release string) error {
	for _, mode := range modes {
		progress("HAProxy %s, a reload with %v of loading, %s hapressure", release, s.load,
			mode.name)
		r, err := s.slowReloadOnce(ctx, hapressure, program, mode.start)
		if err != nil {
			return fmt.Errorf("%s hapressure: %w", mode.name, err)
		}
		t.add(fmt.Sprintf("%s, %v of loading, %s", release, s.load, mode.name),
			"served after %.2f s, ended after %.2f s, the next after %.2f s; %s",
			r.slow.served.Seconds(), r.slow.ended.Seconds(), r.next.ended.Seconds(), r.report)
	}
	return nil
}

// slowResult is what came of a slow reload and of the one after it.
type slowResult struct {
	slow, next reloaded
	report     string
}

func (s settings) slowReloadOnce(ctx context.Context, hapressure, program string,
	begin func(context.Context, string, *server) (*neighbour, error)) (r slowResult, err error) {
	srv, err := startProgram(ctx, program, smallCache)
	if err != nil {
		return r, err
	}
	defer srv.stop()
	old, err := srv.leave(ctx)
	if err != nil {
		return r, err
	}
	defer old.tunnel.Close()
	n, err := begin(ctx, hapressure, srv)
	if err != nil {
		return r, err
	}
	defer n.stop()
	w := srv.watch(ctx)
	fifo := srv.file("addresses")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		return r, err
	}
	srv.sections = fmt.Sprintf("frontend slow\n    mode http\n    bind unix@%s\n    acl listed src -f %s\n    http-request deny if listed\n",
		srv.file("slow.sock"), fifo)
	held := make(chan error, 1)
	go func() { held <- release(ctx, fifo, s.load) }()
	r.slow, err = srv.timeReload(ctx)
	if err := errors.Join(err, <-held); err != nil {
		return r, err
	}
	srv.sections = ""
	if r.next, err = srv.timeReload(ctx); err != nil {
		return r, err
	}
	seen := w.end()
	n.stop()
	r.report = seen.String() + n.String()
	return r, n.err
}

// release lets the reader of a FIFO go on after some time.
func release(ctx context.Context, fifo string, after time.Duration) error {
	if err := pause(ctx, after); err != nil {
		return err
	}
	for {
		w, err := os.OpenFile(fifo, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			_, err = io.WriteString(w, "192.0.2.1\n")
			return errors.Join(err, w.Close())
		}
		if !errors.Is(err, unix.ENXIO) {
			return err
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil { // HAProxy has not come to it yet
			return err
		}
	}
}

// manyReloads measures reloads, one every second, of a HAProxy with many stopping
// workers.
func (s settings) manyReloads(ctx context.Context, t *table, hapressure, program,
	release string) error {
	srv, err := startProgram(ctx, program, smallCache)
	if err != nil {
		return err
	}
	defer srv.stop()
	for i := range s.old {
		progress("HAProxy %s, reload %d of %d", release, i+1, s.old)
		w, err := srv.leave(ctx)
		if err != nil {
			return fmt.Errorf("reload %d: %w", i+1, err)
		}
		defer w.tunnel.Close()
	}
	for _, mode := range modes {
		progress("HAProxy %s, %d reloads beside %d stopping workers, %s hapressure", release,
			s.reloads, s.old, mode.name)
		n, err := mode.start(ctx, hapressure, srv)
		if err != nil {
			return err
		}
		took, seen, err := srv.reloadEverySecond(ctx, s.reloads)
		n.stop()
		if err := errors.Join(err, n.err); err != nil {
			return fmt.Errorf("%s hapressure: %w", mode.name, err)
		}
		t.add(fmt.Sprintf("%s, %d stopping workers, %s", release, s.old, mode.name),
			"%d of %d reloads ended, median %.2f s, slowest %.2f s; %s%s",
			len(took), s.reloads, median(took).Seconds(), quantile(took, 1).Seconds(), seen, n)
	}
	return nil
}

// reloadEverySecond returns how long each reload took to end. A reload that is late
// delays the ones after it.
func (s *server) reloadEverySecond(ctx context.Context, reloads int) (took []time.Duration,
	seen sight, err error) {
	w := s.watch(ctx)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range reloads {
		r, err := s.timeReload(ctx)
		if err != nil {
			return nil, w.end(), err
		}
		took = append(took, r.ended)
		select {
		case <-ctx.Done():
			return nil, w.end(), ctx.Err()
		case <-tick.C:
		}
	}
	return took, w.end(), nil
}

// reloaded is how long a reload took, from its signal.
type reloaded struct {
	served time.Duration // until the new worker took a connection
	ended  time.Duration // until the worker before it, which has no connections, had ended as well
}

// timeReload reloads and waits until the master is ready for the next one.
func (s *server) timeReload(ctx context.Context) (r reloaded, err error) {
	before, err := s.workers()
	if err != nil {
		return r, err
	}
	replaced := before[len(before)-1]
	if err := s.configure(smallCache); err != nil {
		return r, err
	}
	began := time.Now()
	if err := s.cmd.Process.Signal(unix.SIGUSR2); err != nil {
		return r, err
	}
	if _, err = s.serving(ctx, before); err != nil {
		return r, err
	}
	r.served = time.Since(began)
	err = s.wait(ctx, "the reload ends", func() (bool, error) {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", replaced))
		return errors.Is(err, os.ErrNotExist), nil
	})
	if err != nil {
		return r, err
	}
	r.ended = time.Since(began)
	return r, s.wait(ctx, "the master answers", func() (bool, error) { return s.answers(), nil })
}

// sight is what was seen of a master from outside.
type sight struct {
	slots   int           // most connections of its CLI at one time, an operator's own among them
	slowest time.Duration // answer of the master's CLI to an operator, who asks once a second
	files   int           // descriptors that it had more at the end than at the beginning
}

func (s sight) String() string {
	return fmt.Sprintf("slots %d, master CLI %.2f s, descriptors %+d", s.slots, s.slowest.Seconds(),
		s.files)
}

// watcher watches a master until its end.
type watcher struct {
	srv    *server
	files  int
	cancel context.CancelFunc
	slots  chan int
	asked  chan time.Duration
}

// watch counts the slots of the master's CLI every 100 ms, and asks it once a second as
// an operator does.
func (s *server) watch(ctx context.Context) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{srv: s, files: s.files(), cancel: cancel, slots: make(chan int),
		asked: make(chan time.Duration)}
	go func() {
		most := 0
		for pause(ctx, 100*time.Millisecond) == nil {
			most = max(most, s.slots())
		}
		w.slots <- most
	}()
	go func() {
		var slowest time.Duration
		for pause(ctx, time.Second) == nil {
			slowest = max(slowest, s.operator(ctx))
		}
		w.asked <- slowest
	}()
	return w
}

// operator returns how long an operator waits for the answer of the master's CLI, who
// tries again if the master refuses.
func (s *server) operator(ctx context.Context) time.Duration {
	began := time.Now()
	for !s.answers() && pause(ctx, 20*time.Millisecond) == nil {
	}
	return time.Since(began)
}

func (w *watcher) end() sight {
	w.cancel()
	return sight{slots: <-w.slots, slowest: <-w.asked, files: w.srv.files() - w.files}
}

// slots counts the connections of the master's CLI, also those that it has not accepted
// yet.
func (s *server) slots() (n int) {
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		// Num RefCount Protocol Flags Type St Inode Path; a listener has the flag
		// 00010000
		f := strings.Fields(line)
		if len(f) == 8 && strings.HasPrefix(f[7], s.file("master.sock")) && f[3] != "00010000" {
			n++
		}
	}
	return n
}

// files counts the descriptors of the master.
func (s *server) files() int {
	names, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.master()))
	return len(names)
}

// neighbour is hapressure beside a HAProxy: the daemon, and an operator who runs
// `hapressure workers` once a second. The zero value is none.
type neighbour struct {
	daemon *guardian
	dir    string
	group  string
	cancel context.CancelFunc
	ended  chan error
	listed []time.Duration // how long each `hapressure workers` took
	began  use             // of the daemon
	cpu    float64         // of the daemon, in cores
	ticks  []time.Duration // between two of the daemon
	err    error
}

func startNeighbour(ctx context.Context, hapressure string, srv *server) (*neighbour, error) {
	n := &neighbour{ended: make(chan error, 1)}
	var err error
	if n.dir, err = os.MkdirTemp("", "hapressure-bench-"); err != nil {
		return nil, err
	}
	if n.group, err = srv.ownGroup(); err != nil {
		return nil, err
	}
	if n.daemon, err = startDaemon(ctx, hapressure, n.dir, n.group); err != nil {
		return nil, err
	}
	if err := pause(ctx, 3*time.Second); err != nil { // until it has started
		return nil, err
	}
	if n.began, err = useOf(n.daemon.pid()); err != nil {
		return nil, err
	}
	ctx, n.cancel = context.WithCancel(ctx)
	go func() { n.ended <- n.list(ctx, hapressure, srv.master()) }()
	return n, nil
}

// list runs `hapressure workers` once a second.
func (n *neighbour) list(ctx context.Context, hapressure string, master int) error {
	for pause(ctx, time.Second) == nil {
		began := time.Now()
		out, err := exec.CommandContext(ctx, hapressure, "workers", "--pid",
			fmt.Sprint(master)).CombinedOutput()
		if ctx.Err() != nil {
			return nil
		}
		// a master that executes itself again
		if err != nil && !strings.Contains(string(out), "is no worker or master") {
			return fmt.Errorf("hapressure workers: %w\n%s", err, out)
		}
		n.listed = append(n.listed, time.Since(began))
	}
	return nil
}

// stop ends hapressure, and notes what it took.
func (n *neighbour) stop() {
	if n.daemon == nil || n.cancel == nil {
		return
	}
	n.cancel()
	n.err = <-n.ended
	now, err := useOf(n.daemon.pid())
	n.cpu = (now.ran - n.began.ran).Seconds() / now.at.Sub(n.began.at).Seconds()
	n.daemon.stop()
	n.ticks, n.err = ticks(n.daemon.recordings)
	n.err = errors.Join(n.err, err, n.daemon.guarded())
	os.RemoveAll(n.dir)
	n.cancel = nil
}

func (n *neighbour) String() string {
	if n.daemon == nil {
		return ""
	}
	return fmt.Sprintf("; daemon's ticks %.2f s apart, worst %.2f s, CPU %.1f %% of a core; hapressure workers %.2f s, worst %.2f s",
		median(n.ticks).Seconds(), quantile(n.ticks, 1).Seconds(), 100*n.cpu,
		median(n.listed).Seconds(), quantile(n.listed, 1).Seconds())
}

// ticks returns the times between the ticks in the recordings below a folder. A daemon
// that is not busy pauses for 1.1 s between two, and after 10 s in which nothing
// happens for up to 10 s.
func ticks(recordings string) (between []time.Duration, err error) {
	names, err := filepath.Glob(filepath.Join(recordings, "*", "*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var last time.Duration
	for _, name := range names {
		err = errors.Join(err, eachTick(name, func(at time.Duration) {
			if last > 0 {
				between = append(between, at-last)
			}
			last = at
		}))
	}
	if len(between) == 0 {
		err = errors.Join(err, fmt.Errorf("no ticks in %s", recordings))
	}
	return between, err
}
