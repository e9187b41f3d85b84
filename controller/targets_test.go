package controller

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"hapressure/tests/cgrouptest"
	"hapressure/tests/haproxytest"
)

// TestTargetsByGlob holds that a glob finds groups with HAProxy in them and nothing else,
// nor any with a name that a terminal would obey, that a disabled target is left alone,
// and that each target gets its own tiers.
func TestTargetsByGlob(t *testing.T) {
	w := &world{t: t, tree: cgrouptest.New(t), journal: newRecorder(), units: &fakeUnits{changes: make(chan string)}}
	running := exec.CommandContext(t.Context(), haproxytest.Lookalike(t, "/bin/sleep", "lb"), "1h")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	procs := fmt.Sprintln(running.Process.Pid)
	for _, group := range []string{"/pods/a/haproxy", "/pods/b/haproxy", "/pods/off/haproxy", "/pods/a/other", "/pods/\x1b[2J/haproxy", "/pods/a/ha\nproxy",
		"/pods/\xff/haproxy"} {
		w.tree.Group(group, map[string]string{"cgroup.procs": procs})
	}
	w.tree.Group("/pods/b/host", map[string]string{"cgroup.procs": fmt.Sprintln(os.Getpid())})
	w.guard(`version: 1
targets:
  - cgroup: pods/*/h*
  - cgroup: pods/off/haproxy
    disabled: true
  - cgroup: pods/b/haproxy
    tiers:
      - {name: purge, disabled: true}
      - {name: mine, enter: always, actions: []}
tiers:
  - {name: purge, enter: always, actions: []}
`, false)
	var got []string
	for _, e := range w.journal.wait(t, "changes of tier", 2, kind(TierChanged)) {
		got = append(got, e.Fields["HAPRESSURE_TARGET"]+" "+e.Fields["HAPRESSURE_TIER"])
	}
	slices.Sort(got)
	if want := []string{"/pods/a/haproxy purge", "/pods/b/haproxy mine"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := len(w.journal.all(kind(TargetFound))); n != 2 {
		t.Errorf("%d targets", n)
	}
}
