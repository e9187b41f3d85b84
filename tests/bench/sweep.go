package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy"
	"hapressure/haproxy/proc"
)

const (
	blockBytes = 248     // one block of the cache
	smallCache = 1000    // blocks of the generation that replaces the measured one
	spare      = 3 << 30 // bytes of MemAvailable that are left to others
)

// sweep compares the speed of a purge with that of the kernel when it frees the same
// memory because the process ends.
func (s settings) sweep(ctx context.Context, t *table) error {
	for f := range strings.SplitSeq(s.sizes, ",") {
		gib, err := strconv.Atoi(f)
		if err != nil {
			return fmt.Errorf("parsing -sizes: %w", err)
		}
		free, err := memInfo("MemAvailable")
		if err != nil {
			return err
		}
		if uint64(gib)<<30+spare > free {
			t.add(fmt.Sprintf("sweep of %d GiB", gib),
				"left out: only %.1f GiB are available, and %d are for others", gibs(free),
				spare>>30)
			continue
		}
		if err := s.sweepSize(ctx, t, gib); err != nil {
			return err
		}
	}
	return nil
}

// frees are the ways of freeing that are compared.
var frees = []struct {
	name string
	time func(ctx context.Context, size uint64) (time.Duration, error)
}{
	{"purge", timePurge},
	{"kill of an equal worker", timeKill},
	{"end of a process with an equal mapping", timeEnd},
}

func (s settings) sweepSize(ctx context.Context, t *table, gib int) error {
	size := uint64(gib) << 30
	took := make([][]time.Duration, len(frees))
	for round := range s.rounds {
		for i := range frees {
			i = (i + round) % len(frees) // none is always first
			progress("%d GiB, round %d of %d: %s", gib, round+1, s.rounds, frees[i].name)
			d, err := frees[i].time(ctx, size)
			if err != nil {
				return fmt.Errorf("%s of %d GiB: %w", frees[i].name, gib, err)
			}
			took[i] = append(took[i], d)
		}
	}
	for i, f := range frees {
		t.add(fmt.Sprintf("%d GiB: %s", gib, f.name), "%.2f GiB/s (%.2f to %.2f)",
			gibs(size)/median(took[i]).Seconds(),
			gibs(size)/quantile(took[i], 1).Seconds(), gibs(size)/quantile(took[i], 0).Seconds())
	}
	for i, f := range frees[1:] {
		t.atLeast(fmt.Sprintf("%d GiB: speed of the purge / %s", gib, f.name),
			median(took[i+1]).Seconds()/median(took[0]).Seconds(), 0.8)
	}
	return nil
}

// stopping is a worker that stops, with a cache of some GiB, kept alive by one tunnel.
type stopping struct {
	*server
	pid    int
	tunnel net.Conn
}

func startStopping(ctx context.Context, size uint64) (*stopping, error) {
	s, err := start(ctx, int(size/blockBytes))
	if err != nil {
		return nil, err
	}
	w, err := s.leave(ctx)
	if err != nil {
		s.stop()
	}
	return w, err
}

// leave makes the worker that serves a stopping one.
func (s *server) leave(ctx context.Context) (*stopping, error) {
	workers, err := s.workers()
	if err != nil {
		return nil, err
	}
	w := &stopping{server: s, pid: workers[len(workers)-1]}
	if w.tunnel, err = s.openTunnel(); err != nil {
		return nil, err
	}
	if _, err := s.reload(ctx, smallCache); err != nil {
		return nil, err
	}
	return w, s.wait(ctx, "the old worker stops",
		func() (bool, error) { return s.says(w.pid, "Stopping: 1"), nil })
}

func timePurge(ctx context.Context, size uint64) (time.Duration, error) {
	w, err := startStopping(ctx, size)
	if err != nil {
		return 0, err
	}
	defer w.stop()
	pids, err := w.pids()
	if err != nil {
		return 0, err
	}
	p, err := purgePID(ctx, w.pid, pids)
	if err == nil && p.Freed < size/100*99 {
		err = fmt.Errorf("only %d bytes were freed", p.Freed)
	}
	return p.Took, err
}

// purgeTries is how often a purge that something passing prevents is tried: on a busy
// machine a thread may not get to stop in time.
const purgeTries = 10

// purged is a purge as it was measured from outside, the longest hold of its tries, and
// how many these were.
type purged struct {
	Took, Held time.Duration
	Freed      uint64
	Tries      int
}

func purgeWorker(ctx context.Context, others []int,
	recheck func() (*haproxy.Stopping, error)) (purged, error) {
	var worst time.Duration
	for tries := 1; ; tries++ {
		began := time.Now()
		p, err := recheck()
		if err != nil {
			return purged{}, err
		}
		res, err := p.PurgeSSLCache(ctx, others)
		p.Close()
		worst = max(worst, res.Held)
		passing := errors.Is(err, haproxy.ErrBusy) || errors.Is(err, haproxy.ErrCannotStop)
		if err == nil || !passing || tries == purgeTries {
			return purged{time.Since(began), worst, res.Freed(), tries}, err
		}
	}
}

// purgePID purges the stopping worker with this pid. others are all pids of its HAProxy.
func purgePID(ctx context.Context, pid int, others []int) (purged, error) {
	recheck, err := stoppingPID(ctx, pid, others)
	if err != nil {
		return purged{}, err
	}
	return purgeWorker(ctx, others, recheck)
}

// stoppingPID returns a function that pins the stopping worker with this pid.
func stoppingPID(ctx context.Context, pid int, others []int) (func() (*haproxy.Stopping, error),
	error) {
	s := haproxy.NewScanner("/proc")
	found, err := s.Scan(ctx, others)
	if err != nil {
		return nil, err
	}
	for _, in := range found {
		for _, w := range in.Workers {
			if w.PID == pid {
				return func() (*haproxy.Stopping, error) { return s.Recheck(ctx, w) }, nil
			}
		}
	}
	return nil, fmt.Errorf("no worker has pid %d", pid)
}

func timeKill(ctx context.Context, size uint64) (time.Duration, error) {
	w, err := startStopping(ctx, size)
	if err != nil {
		return 0, err
	}
	defer w.stop()
	return kill(ctx, w.pid, size)
}

func timeEnd(ctx context.Context, size uint64) (time.Duration, error) {
	cmd := self(ctx, "hold", fmt.Sprint(size))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer cmd.Wait()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, err
	}
	return kill(ctx, cmd.Process.Pid, size)
}

// kill kills a process that is the last to map so much shared memory, and returns how
// long it takes until the memory is free. The end of the process alone does not tell:
// the kernel may free the memory later.
func kill(ctx context.Context, pid int, size uint64) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, err := memInfo("Shmem")
	if err != nil {
		return 0, err
	}
	p, err := proc.Open("/proc", proc.ID{PID: pid})
	if err != nil {
		return 0, err
	}
	defer p.Close()
	began := time.Now()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return 0, err
	}
	if _, err := p.WaitExit(ctx, patience); err != nil {
		return 0, err
	}
	for ctx.Err() == nil {
		now, err := memInfo("Shmem")
		if err != nil {
			return 0, err
		}
		if now+size/10*9 < before { // others may have taken a little meanwhile
			return time.Since(began), nil
		}
		time.Sleep(time.Millisecond) // no event tells
	}
	return 0, fmt.Errorf("waiting until the memory of pid %d is free: %w", pid, ctx.Err())
}

func gibs(bytes uint64) float64 { return float64(bytes) / (1 << 30) }

// openFiles raises the limit of open files to what it may be.
func openFiles() error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	return os.NewSyscallError("setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &l))
}
