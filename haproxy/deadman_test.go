package haproxy

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
	"hapressure/tests/haproxytest"
)

// halt is a way of keeping a process from running that it cannot prevent.
type halt struct {
	name    string
	prepare func(pid int) error
	now     func(pid, holder int) error // holder is the thread that holds the worker
}

// halts are what systemd, an operator or a container's engine does. group is an empty
// cgroup.
func halts(group string) []halt {
	return []halt{
		// To that thread, so that it is the one that takes it, after its call; then all
		// stop.
		{"SIGSTOP", func(int) error { return nil }, func(pid,
			holder int) error {
			return unix.Tgkill(pid, holder, unix.SIGSTOP)
		}},
		{"freezer",
			func(pid int) error {
				return os.WriteFile(group+"/cgroup.procs", fmt.Append(nil, pid),
					0)
			},
			func(int, int) error { return os.WriteFile(group+"/cgroup.freeze", []byte("1"), 0) }},
	}
}

// cgroup2 makes an empty cgroup of version 2. A machine may have version 1 mounted
// besides.
func cgroup2(t *testing.T) string {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		group := fmt.Sprintf("%s/hapressure-test-%d", mount, os.Getpid())
		if _, err := os.Stat(mount + "/cgroup.procs"); err == nil && os.Mkdir(group, 0o755) == nil {
			t.Cleanup(func() { os.Remove(group) })
			return group
		}
	}
	t.Fatal("no cgroup of version 2 can be made here")
	return ""
}

// A purge that is stopped or frozen at any step at which it holds threads is killed by
// its own timer, and the worker, which is in the middle of handshakes, serves on.
// HAPRESSURE_HALTS is how often it is done each way.
func TestPurgeHaltedAnywhere(t *testing.T) {
	rounds := 6
	fmt.Sscan(os.Getenv("HAPRESSURE_HALTS"), &rounds)
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize, Threads: 4})
	worker := h.Children()
	p, err := unproven(worker[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	traffic := traffic{t: t}
	defer traffic.start(newPeers(h))()
	tunnel := h.Tunnel()
	group := cgroup2(t)
	for _, how := range halts(group) {
		t.Run(how.name, func(t *testing.T) {
			var held []time.Duration
			killed := 0
			for round, steps := 0, 0; round < rounds; {
				step := math.MaxInt // to its end, for the number of steps
				if steps > 0 {
					step = 1 + round*steps/rounds
				}
				v := &victim{halt: how, calls: map[int]uint64{}}
				proc.OnThread(0, func() {
					err = v.run(fmt.Sprintf("purge %d %d", p.w.PID, h.Master),
						step, false)
				})
				switch {
				case errors.Is(err, errOwnTimer):
				case err != nil:
					t.Fatalf("step %d: %v", step, err)
				case step == math.MaxInt:
					steps = v.steps
				case v.steps == step: // now and then it comes to its end in fewer
					took := release(t, p.w.PID, v.seized)
					held = append(held, took)
					if v.finish(t, group) {
						killed++
					}
					round++
				}
				if err := haproxytest.Echo(tunnel); err != nil {
					t.Fatalf("step %d of %d: tunnel: %v", step, steps, err)
				}
				repurge(t, p, h.Pids())
				refill(t, p)
			}
			slices.Sort(held)
			t.Logf("halted %d times, killed by its timer %d times; threads were held for %v in "+
				"the median, %v at worst; the bound is %v", len(held), killed,
				held[len(held)/2], held[len(held)-1], HoldLimit)
			if killed < len(held)*3/4 { // the others had released the worker, or were about to
				t.Errorf("%d of %d were not killed by their timers", len(held)-killed, len(held))
			}
		})
	}
	if got := h.Children(); !slices.Equal(got, worker) {
		t.Errorf("workers %v, want %v", got, worker)
	}
	if log := h.Log(); strings.Contains(log, "stuck") || strings.Contains(log, "panic") {
		t.Error("HAProxy's watchdog found a thread stuck")
	}
}

// release waits until no thread of the worker is traced, and returns how long that was
// since a moment. It fails where that is ten times the bound: the rest is for a machine
// that is busy.
func release(t *testing.T, worker int, since time.Time) time.Duration {
	t.Helper()
	for {
		err := free(worker)
		took := time.Since(since)
		if err == nil {
			return took
		}
		if took > 10*HoldLimit {
			t.Fatalf("after %v the worker is still held: %v", took, err)
		}
		time.Sleep(time.Millisecond) // no event shows it
	}
}

// finish waits until the halted victim has been killed, and thaws its cgroup. One that
// had just released the worker is halted for good: it gets ten times the bound.
func (v *victim) finish(t *testing.T, group string) (killedByTimer bool) {
	t.Helper()
	var ws unix.WaitStatus
	for end := time.Now().Add(10 * HoldLimit); ; time.Sleep(time.Millisecond) { // no event shows it
		got, err := unix.Wait4(v.pid, &ws, unix.WALL|unix.WNOHANG, nil)
		if err != nil {
			t.Fatalf("waiting for the victim: %v", err)
		}
		if got == v.pid && !ws.Stopped() { // the last stop of its tracer's may come first
			killedByTimer = ws.Signaled() && ws.Signal() == unix.SIGKILL
			break
		}
		if time.Now().After(end) {
			unix.Kill(v.pid, unix.SIGKILL)
			unix.Wait4(v.pid, nil, unix.WALL, nil)
			break
		}
	}
	if err := os.WriteFile(group+"/cgroup.freeze", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	if !killedByTimer {
		t.Logf("step %d: not killed by its timer: %#x", v.steps, ws)
	}
	return killedByTimer
}

// repurge purges a worker that serves, and tries again as a policy does.
func repurge(t *testing.T, p *Stopping, pids []int) {
	t.Helper()
	haproxytest.Eventually(t, "the next purge is done", func() error {
		_, err := purge(t.Context(), p, pids)
		return err
	})
}

// A program of which nothing is in memory waits for no disk while it holds a worker.
func TestColdFreezeReadsNothing(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(h.Dir, "cold")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	unix.Sync() // what is not written yet stays in memory
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=cold %d", actEnv, h.Children()[0]))
	out, err := cmd.CombinedOutput()
	var faults, all int
	if n, serr := fmt.Sscanf(string(out), "%d of %d", &faults, &all); n != 2 || err != nil {
		t.Fatalf("%v, %v\n%s", err, serr, out)
	}
	if faults != 0 {
		t.Errorf("%s", out)
	}
	if all == 0 {
		t.Skipf("its pages stay in memory here (a tmpfs?)")
	}
	t.Logf("%s", out)
}

// freezeCold empties the cache of p and prints how often the thread that freezes had to
// wait for a disk meanwhile, and how often this process had to at any time.
func freezeCold(p *Stopping) error {
	c, err := findTLSCache(p.p, os.O_RDWR)
	if err != nil {
		return err
	}
	defer c.Close()
	page, err := c.mapHeader()
	if err != nil {
		return err
	}
	h := c.cache.Header(page, c.Mapping.Start)
	if err := evictProgram(); err != nil {
		return err
	}
	var before, after, all unix.Rusage
	check := func() error {
		if before == (unix.Rusage{}) { // no thread is stopped yet
			unix.Getrusage(unix.RUSAGE_THREAD, &before)
		}
		return h.Idle()
	}
	// The faults are counted, whatever they take, so the hold is bounded by the test
	// only.
	held, err := p.p.Freeze(haproxytest.Deadline, check, func() error {
		defer unix.Getrusage(unix.RUSAGE_THREAD, &after)
		return h.Clear()
	})
	unix.Getrusage(unix.RUSAGE_SELF, &all)
	fmt.Printf("%d of %d major faults and %d minor ones while threads were held for %v\n",
		after.Majflt-before.Majflt, all.Majflt,
		after.Minflt-before.Minflt, held)
	return err
}

// evictProgram writes the code and the constants of this program out of memory, and has
// them read again page by page.
func evictProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := proc.ReadMaps("/proc", os.Getpid(),
		func(m proc.Mapping) bool { return m.Path == exe && m.Perms[1] == '-' })
	for _, m := range maps {
		for _, advice := range []uintptr{unix.MADV_RANDOM, unix.MADV_PAGEOUT} {
			if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(m.Start), uintptr(m.Len()),
				advice); errno != 0 {
				return fmt.Errorf("madvise %d of %+v: %w", advice, m, errno)
			}
		}
	}
	return err
}
