package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	realUnit  = "hapressure-test.service"
	realSlice = "hapressure.slice" // gives the unit an ancestor with a limit
	mib       = 1 << 20
)

// TestMain is also the process of the unit that the tests below start: it waits for one
// byte from a pipe, then uses more memory than memory.high lets it.
func TestMain(m *testing.M) {
	if pipe := os.Getenv("HAPRESSURE_EATER"); pipe != "" {
		eat(pipe)
	}
	os.Exit(m.Run())
}

func eat(pipe string) {
	f, err := os.Open(pipe)
	if err == nil {
		_, err = f.Read(make([]byte, 1))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var eaten [][]byte
	for range 40 {
		eaten = append(eaten, bytes.Repeat([]byte{1}, mib))
	}
	fmt.Println("eaten", len(eaten), "MiB")
	select {}
}

// needReal skips a test on a machine whose cgroups have not been given to it.
func needReal(t *testing.T) {
	t.Helper()
	if os.Getenv("HAPRESSURE_REAL") != "1" {
		t.Skip("HAPRESSURE_REAL=1 is not set")
	}
}

// startEater starts the unit and returns its group's path; hungry lets it eat.
func startEater(t *testing.T) (path string, pid int, hungry func()) {
	t.Helper()
	needReal(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	run(t, "mkfifo", pipe)
	run(t, "systemctl", "set-property", "--runtime", realSlice, "MemoryMax=512M")
	run(t, "systemd-run", "--unit="+realUnit, "--slice="+realSlice, "--property=Type=exec",
		"--property=MemoryHigh=24M", "--property=MemoryMax=64M", "--property=MemorySwapMax=0",
		"--setenv=HAPRESSURE_EATER="+pipe, self)
	t.Cleanup(func() { exec.Command("systemctl", "stop", realUnit).Run() })
	pid, err = strconv.Atoi(run(t, "systemctl", "show", "--value", "--property=MainPID", realUnit))
	if err != nil {
		t.Fatal(err)
	}
	hungry = func() {
		// Opening it for writing waits until the unit reads.
		if err := os.WriteFile(pipe, []byte{1}, 0); err != nil {
			t.Fatal(err)
		}
	}
	return run(t, "systemctl", "show", "--value", "--property=ControlGroup", realUnit), pid, hungry
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func openReal(t *testing.T, path string) *Group {
	t.Helper()
	mount, err := Mount()
	if err != nil {
		t.Fatal(err)
	}
	g, err := Open(mount, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func TestRealReadings(t *testing.T) {
	path, pid, _ := startEater(t)
	g := openReal(t, path)
	if path != "/"+realSlice+"/"+realUnit {
		t.Errorf("path %q", path)
	}
	current, err := g.MemoryCurrent()
	if err != nil || current == 0 || current > 64*mib {
		t.Errorf("memory.current: %d, %v", current, err)
	}
	if swap, err := g.SwapCurrent(); err != nil || swap != 0 {
		t.Errorf("memory.swap.current: %d, %v", swap, err)
	}
	if stat, err := g.Stat(); err != nil || stat["anon"] == 0 || len(stat) < 20 {
		t.Errorf("memory.stat: %v, %v", stat, err)
	}
	events, err := g.Events()
	for _, key := range []string{"low", "high", "max", "oom", "oom_kill", "oom_group_kill"} {
		if _, ok := events[key]; !ok || err != nil {
			t.Errorf("memory.events has no %s: %v, %v", key, events, err)
		}
	}
	if p, err := g.Pressure(); err != nil || p.Full == nil {
		t.Errorf("memory.pressure: %+v, %v", p, err)
	}
	if pids, err := g.Procs(); err != nil || !slices.Equal(pids, []int{pid}) {
		t.Errorf("cgroup.procs: %v, %v; want %d", pids, err, pid)
	}

	limits, err := g.Limits()
	want := []Limit{{path, "memory.high", 24 * mib, 0}, {path, "memory.max", 64 * mib, 0}, {"/" + realSlice, "memory.max", 512 * mib, 0}}
	for i := range limits {
		if limits[i].Usage == 0 {
			t.Errorf("nothing is used of %+v", limits[i])
		}
		limits[i].Usage = 0
	}
	if err != nil || !slices.Equal(limits, want) {
		t.Errorf("limits: %+v, %v; want %+v", limits, err, want)
	}
	if swap, err := g.SwapLimits(); err != nil || len(swap) != 1 || swap[0].Bytes != 0 {
		t.Errorf("swap limits: %+v, %v; want one of 0", swap, err)
	}

	host, err := Host("/proc")
	if err != nil || host.Total < 64*mib || host.Available == 0 {
		t.Errorf("host: %+v, %v", host, err)
	}
	root := openReal(t, "/")
	if limits, err := root.Limits(); err != nil || len(limits) != 0 {
		t.Errorf("limits of the root: %v, %v", limits, err)
	}
	if _, err := root.MemoryCurrent(); !errors.Is(err, ErrAbsent) {
		t.Errorf("memory.current of the root: %v, want ErrAbsent", err)
	}
	if pids, err := root.Procs(); err != nil || !slices.Contains(pids, pid) || !slices.Contains(pids, 1) {
		t.Errorf("processes of the root: %v, %v; want 1 and %d among them", pids, err, pid)
	}
}

func TestRealPressureWakes(t *testing.T) {
	path, _, hungry := startEater(t)
	g := openReal(t, path)
	before, err := g.Pressure()
	if err != nil {
		t.Fatal(err)
	}
	wakes, missing, ended, stop := watching(t, g)
	hungry()
	woken := make(map[string]bool)
	for !woken[pressureFile] || !woken["memory.events"] {
		woken[receive(t, wakes, fmt.Sprintf("wake-up by both, so far %v", woken))] = true
	}
	if events, err := g.Events(); err != nil || events["high"] == 0 {
		t.Errorf("memory.events after a wake-up: %v, %v; want high above 0", events, err)
	}
	// Not what the trigger asked for: the kernel sums over processors for triggers at
	// other times than for readers (kernel/sched/psi.c, collect_percpu_times).
	if after, err := g.Pressure(); err != nil || after.Some.Total <= before.Some.Total {
		t.Errorf("stall from %v to %v, %v", before.Some.Total, after.Some.Total, err)
	}
	stop()
	if err := receive(t, ended, "end of Watch"); err != nil || len(missing) != 0 {
		t.Errorf("Watch: %v; %d sensors missing", err, len(missing))
	}
}

func TestRealGroupMadeAnew(t *testing.T) {
	path, _, _ := startEater(t)
	g := openReal(t, path)
	wakes, missing, ended, _ := watching(t, g)
	awaitWatch(t, g)
	run(t, "systemctl", "stop", realUnit)
	for receive(t, wakes, "wake-up by cgroup.events") != "cgroup.events" {
	}
	if err := receive(t, ended, "end of Watch"); !errors.Is(err, ErrGone) || len(missing) != 0 {
		t.Errorf("Watch of a stopped unit: %v, %d missing; want ErrGone", err, len(missing))
	}
	startEater(t)
	for name, err := range map[string]error{"alive": g.Alive(), "current": second(g.MemoryCurrent()), "pressure": second(g.Pressure()),
		"events": second(g.Events()), "limits": second(g.Limits()), "procs": second(g.Procs())} {
		if !errors.Is(err, ErrGone) || errors.Is(err, ErrAbsent) || errors.Is(err, ErrPSIOff) {
			t.Errorf("%s of the old group: %v, want ErrGone", name, err)
		}
	}
	if err := openReal(t, path).Alive(); err != nil {
		t.Errorf("the new group: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// awaitWatch waits until Watch has its sensors: an inotify watch on the file
// cgroup.events, which comes last.
func awaitWatch(t *testing.T, g *Group) {
	t.Helper()
	late := time.Now().Add(deadline)
	for time.Now().Before(late) {
		infos, _ := filepath.Glob("/proc/self/fdinfo/*")
		for _, name := range infos {
			if info, _ := os.ReadFile(name); bytes.Count(info, []byte("inotify wd:")) == len(watched) {
				return
			}
		}
	}
	t.Fatal("Watch does not begin")
}

// A group's files go and come back with their controller.
func TestRealControllerTakenAwayAndGivenBack(t *testing.T) {
	needReal(t)
	mount, err := Mount()
	if err != nil {
		t.Fatal(err)
	}
	parent, child := filepath.Join(mount, "hapressure-test"), filepath.Join(mount, "hapressure-test/child")
	if err := os.MkdirAll(child, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(child); os.Remove(parent) })
	memory := func(sign string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte(sign+"memory"), 0); err != nil {
			t.Fatal(err)
		}
	}
	memory("+")
	g := openReal(t, "/hapressure-test/child")
	wakes, missing, _, _ := watching(t, g)
	awaitWatch(t, g)
	memory("-")
	if _, err := g.Events(); !errors.Is(err, ErrAbsent) {
		t.Errorf("events without the controller: %v, want ErrAbsent", err)
	}
	memory("+")
	for receive(t, wakes, "wake-up by the new file") != "memory.events" {
	}
	if len(missing) != 0 {
		t.Errorf("missing: %v", <-missing)
	}
}

// Pressure figures can be turned off for a group while it is watched.
func TestRealPressureTurnedOff(t *testing.T) {
	path, _, _ := startEater(t)
	g := openReal(t, path)
	mount, _ := Mount()
	_, missing, _, _ := watching(t, g)
	awaitWatch(t, g)
	if err := os.WriteFile(filepath.Join(mount, path, "cgroup.pressure"), []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, missing, "missing sensor"); got != "memory.pressure lost" {
		t.Errorf("missing: %q", got)
	}
	if _, err := g.Pressure(); !errors.Is(err, ErrPSIOff) {
		t.Errorf("pressure: %v, want ErrPSIOff", err)
	}
}

func TestRealTriggerRefused(t *testing.T) {
	path, _, _ := startEater(t)
	_, err := openReal(t, path).openTrigger(50*time.Millisecond, 11*time.Second)
	if err == nil || !strings.Contains(err.Error(), "at most 10s") {
		t.Errorf("a window of 11 s: %v, want an error that says what is allowed", err)
	}
	t.Log(err)
}
