package cgroup

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/cgroups/v3"

	"hapressure/tests/cgrouptest"
)

const unit = "/system.slice/haproxy.service"

// open makes a tree with the unit's group, which has files, and opens it.
func open(t *testing.T, files map[string]string) (cgrouptest.Tree, *Group) {
	t.Helper()
	tree := cgrouptest.New(t)
	tree.Group(unit, files)
	g, err := Open(tree.Mount, unit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return tree, g
}

func TestOpenRefuses(t *testing.T) {
	tree := cgrouptest.New(t)
	tree.Group(unit, nil)
	tree.Group("/bare", map[string]string{procsFile: cgrouptest.Absent})
	for _, c := range []struct {
		path string
		gone bool
		want string
	}{
		{"/system.slice/other.service", true, "removed"},
		{unit + " (deleted)", true, "removed"},
		{"/bare", true, "removed"},
		{"system.slice", false, "slash"},
		{"", false, "slash"},
		{"/../outside", false, "namespace"},
		{"/system.slice/..", false, "namespace"},
	} {
		g, err := Open(tree.Mount, c.path)
		if err == nil {
			g.Close()
			t.Errorf("Open(%q) opened %s, want an error", c.path, g.path)
			continue
		}
		if errors.Is(err, ErrGone) != c.gone || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Open(%q): %v; want ErrGone %v and %q", c.path, err, c.gone, c.want)
		}
	}
}

func TestMountOf(t *testing.T) {
	if got, err := mountOf(cgroups.Unified); err != nil || got != "/sys/fs/cgroup" {
		t.Errorf("unified: %q, %v", got, err)
	}
	for mode, want := range map[cgroups.CGMode]string{cgroups.Hybrid: "hybrid", cgroups.Legacy: "only v1", cgroups.Unavailable: "no cgroup"} {
		if got, err := mountOf(mode); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("mode %d: %q, %v; want an error with %q", mode, got, err, want)
		}
	}
}

func TestReadings(t *testing.T) {
	_, g := open(t, map[string]string{
		"memory.current":      "629145600\n",
		"memory.swap.current": "0\n",
		"memory.events":       "low 0\nhigh 12\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\nsock_throttled 7\n",
		"memory.stat":         "anon 52428800\nfile 503316480\nshmem 497025024\n",
	})
	for name, c := range map[string]struct {
		read func() (uint64, error)
		want uint64
	}{
		"current": {g.MemoryCurrent, 629145600},
		"swap":    {g.SwapCurrent, 0},
	} {
		if got, err := c.read(); err != nil || got != c.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, c.want)
		}
	}
	events, err := g.Events()
	if err != nil || events["high"] != 12 || events["oom_kill"] != 1 || events["sock_throttled"] != 7 || len(events) != 7 {
		t.Errorf("events: %v, %v", events, err)
	}
	want := map[string]uint64{"anon": 52428800, "file": 503316480, "shmem": 497025024}
	if got, err := g.Stat(); err != nil || !maps.Equal(got, want) {
		t.Errorf("stat: %v, %v; want %v", got, err, want)
	}
}

// The outermost group that is killed as one counts, and the root may have no such file.
func TestOOMGroup(t *testing.T) {
	tree := cgrouptest.New(t)
	tree.Group("/a/b/c", nil)
	g, err := Open(tree.Mount, "/a/b/c")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, want := range []string{"", "/a/b/c", "/a", "/"} {
		if want != "" {
			tree.Write(want, "memory.oom.group", "1\n")
		}
		if got, err := g.OOMGroup(); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

// Every failed reading has the sentinel error of its cause.
func TestAbsence(t *testing.T) {
	tree, g := open(t, map[string]string{
		"memory.current":      cgrouptest.Absent,
		"memory.swap.current": cgrouptest.Absent,
		"memory.swap.max":     cgrouptest.Absent,
		"memory.max":          cgrouptest.Absent,
		"memory.oom.group":    cgrouptest.Absent,
		"memory.events":       cgrouptest.Absent,
		"memory.stat":         cgrouptest.Absent,
		"memory.pressure":     cgrouptest.Absent,
	})
	readings := map[string]func() error{
		"current":     func() error { _, err := g.MemoryCurrent(); return err },
		"swap":        func() error { _, err := g.SwapCurrent(); return err },
		"events":      func() error { _, err := g.Events(); return err },
		"stat":        func() error { _, err := g.Stat(); return err },
		"limits":      func() error { _, err := g.Limits(); return err },
		"oom group":   func() error { _, err := g.OOMGroup(); return err },
		"swap limits": func() error { _, err := g.SwapLimits(); return err },
	}
	for name, read := range readings {
		if err := read(); !errors.Is(err, ErrAbsent) || errors.Is(err, ErrGone) {
			t.Errorf("%s of a group without its file: %v, want ErrAbsent", name, err)
		}
	}
	if _, err := g.Pressure(); !errors.Is(err, ErrPSIOff) || !strings.Contains(err.Error(), "psi=1") {
		t.Errorf("pressure without its file: %v, want ErrPSIOff that names psi=1", err)
	}
	if err := g.Alive(); err != nil {
		t.Errorf("alive: %v", err)
	}

	readings["pressure"] = func() error { _, err := g.Pressure(); return err }
	readings["procs"] = func() error { _, err := g.Procs(); return err }
	readings["alive"] = g.Alive
	tree.Remove(unit)
	tree.Group(unit, nil) // under the same path, but another group
	for name, read := range readings {
		if err := read(); !errors.Is(err, ErrGone) || errors.Is(err, ErrAbsent) || errors.Is(err, ErrPSIOff) {
			t.Errorf("%s of a removed group: %v, want ErrGone", name, err)
		}
	}
}

func TestGarbageIsAnError(t *testing.T) {
	_, g := open(t, map[string]string{
		"memory.current": "max\n",
		"memory.events":  "",
		"memory.stat":    "anon lots\n",
		"memory.high":    "-1\n",
		"cgroup.procs":   "12 13\n",
	})
	for name, read := range map[string]func() error{
		"memory.current": func() error { _, err := g.MemoryCurrent(); return err },
		"memory.events":  func() error { _, err := g.Events(); return err },
		"memory.stat":    func() error { _, err := g.Stat(); return err },
		"memory.high":    func() error { _, err := g.Limits(); return err },
		"cgroup.procs":   func() error { _, err := g.Procs(); return err },
	} {
		if err := read(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), unit) {
			t.Errorf("%s: %v, want an error that names the file and the group", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	tree, g := open(t, map[string]string{
		"memory.current": "700\n", "memory.high": "800\n", "memory.max": "1000\n",
		"memory.swap.current": "5\n", "memory.swap.max": "0\n",
	})
	tree.Write("/system.slice", "memory.current", "1900\n")
	tree.Write("/system.slice", "memory.max", "2000\n")
	want := []Limit{
		{unit, "memory.high", 800, 700},
		{unit, "memory.max", 1000, 700},
		{"/system.slice", "memory.max", 2000, 1900},
	}
	if got, err := g.Limits(); err != nil || !slices.Equal(got, want) {
		t.Errorf("limits: %v, %v; want %v", got, err, want)
	}
	want = []Limit{{unit, "memory.swap.max", 0, 5}}
	if got, err := g.SwapLimits(); err != nil || !slices.Equal(got, want) {
		t.Errorf("swap limits: %v, %v; want %v", got, err, want)
	}

	// Where a cgroup namespace begins, the root has limits.
	for name, content := range map[string]string{"memory.current": "2500\n", "memory.high": "max\n", "memory.max": "3000\n"} {
		tree.Write("/", name, content)
	}
	got, err := g.Limits()
	if err != nil || len(got) != 4 || got[3] != (Limit{"/", "memory.max", 3000, 2500}) {
		t.Errorf("limits in a namespace: %v, %v", got, err)
	}
	tree.Write("/", "memory.max", "garbage\n")
	if got, err := g.Limits(); err == nil {
		t.Errorf("limits with garbage in an ancestor: %v, want an error", got)
	}
}

func TestNoLimits(t *testing.T) {
	tree, g := open(t, nil)
	if got, err := g.Limits(); err != nil || len(got) != 0 {
		t.Errorf("limits: %v, %v; want none", got, err)
	}
	root, err := Open(tree.Mount, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if got, err := root.Limits(); err != nil || len(got) != 0 {
		t.Errorf("limits of the root: %v, %v; want none", got, err)
	}
	if _, err := root.MemoryCurrent(); !errors.Is(err, ErrAbsent) {
		t.Errorf("memory.current of the root: %v, want ErrAbsent", err)
	}
}

func TestNearest(t *testing.T) {
	own := Limit{Group: unit, Kind: "memory.max", Bytes: 1000, Usage: 700}               // 300 left, 70 %
	slice := Limit{Group: "/system.slice", Kind: "memory.max", Bytes: 2000, Usage: 1750} // 250 left
	over := Limit{Group: unit, Kind: "memory.high", Bytes: 500, Usage: 700}
	roomy := HostMemory{Total: 10000, Available: 9000}
	tight := HostMemory{Total: 10000, Available: 100}
	for _, c := range []struct {
		host   HostMemory
		limits []Limit
		want   Limit
	}{
		{roomy, nil, Limit{Kind: "MemAvailable", Bytes: 10000, Usage: 1000}},
		{roomy, []Limit{own, slice}, slice},
		{roomy, []Limit{own, slice, over}, over},
		{tight, []Limit{own, slice}, tight.Limit()},
	} {
		if got := Nearest(c.host, c.limits); got != c.want {
			t.Errorf("Nearest(%v, %v) = %v, want %v", c.host, c.limits, got, c.want)
		}
	}
	if got := over.Percent(); math.Abs(got-140) > 1e-9 {
		t.Errorf("700 of 500 is %v %%, want 140", got)
	}
	if got := (Limit{}).Percent(); got != 100 {
		t.Errorf("a limit of 0 is used by %v %%, want 100", got)
	}
	if got := (HostMemory{Total: 10, Available: 11}).Limit().Usage; got != 0 {
		t.Errorf("more available than there is: %d used, want 0", got)
	}
}

func TestProcs(t *testing.T) {
	tree, g := open(t, map[string]string{procsFile: "415\n412\n0\n415\n"})
	tree.Group(unit+"/inner", map[string]string{procsFile: "77\n"})
	tree.Group(unit+"/inner/deep", map[string]string{procsFile: "9\n"})
	tree.Group(unit+"/going", map[string]string{procsFile: cgrouptest.Absent}) // removed as it was read
	want := []int{9, 77, 412, 415}
	if got, err := g.Procs(); err != nil || !slices.Equal(got, want) {
		t.Errorf("procs: %v, %v; want %v", got, err, want)
	}
}
