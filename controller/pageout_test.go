package controller

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hapressure/cgroup"
	"hapressure/policy"
	"hapressure/tests/cgrouptest"
)

// stalled is a memory.pressure by which tasks have waited for so many ms.
func stalled(ms int) string {
	return fmt.Sprintf("some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\n", ms*1000)
}

// A page-out continues while swap has room, and while the stalls of the group and of the
// host in a second exceed those of the second before it by no more than is allowed.
func TestCostsOfAPageOut(t *testing.T) {
	type stall struct{ group, host int } // in ms
	for _, tt := range []struct {
		name  string
		files map[string]string
		free  int // KiB of the host's swap
		usual stall
		then  []stall
		want  string // in the error after the last; "" = none
	}{
		{"nothing waits", nil, 1000, stall{}, []stall{{}, {}, {}}, ""},
		{"no swap", nil, 0, stall{}, nil, "no swap"},
		{"no room in the group's swap", map[string]string{"memory.swap.max": "4096\n",
			"memory.swap.current": "4096\n"}, 1000, stall{}, nil, "no room in it"},
		{"the kernel does not count swap", map[string]string{"memory.swap.max": cgrouptest.Absent,
			"memory.swap.current": cgrouptest.Absent}, 1000, stall{}, []stall{{}}, ""},
		{"as much as before", nil, 1000, stall{500, 500}, []stall{{500, 500}}, ""},
		{"a little more", nil, 1000, stall{500, 0}, []stall{{520, 20}}, ""},
		{"the group waits", nil, 1000, stall{500, 0}, []stall{{521, 0}},
			"tasks of the target waited 521ms for memory within 1s, and 500ms before"},
		{"the host waits", nil, 1000, stall{}, []stall{{10, 10}, {10, 21}}, "tasks of the host"},
	} {
		s, tree, _ := sensorOf(t, 400, tt.files)
		meminfo := fmt.Sprintf("MemTotal: 1000 kB\nMemAvailable: 400 kB\nSwapTotal: 1000 kB\n"+
			"SwapFree: %d kB\n", tt.free)
		dir := filepath.Join(s.procfs, "pressure")
		err := errors.Join(os.Mkdir(dir, 0o755),
			os.WriteFile(filepath.Join(s.procfs, "meminfo"), []byte(meminfo), 0o644))
		if err != nil {
			t.Fatal(err)
		}
		set := func(now stall) {
			tree.Write(group, "memory.pressure", stalled(1000+now.group))
			err := os.WriteFile(filepath.Join(dir, "memory"), []byte(stalled(2000+now.host)), 0o644)
			if err != nil {
				t.Fatal(err)
			}
		}
		set(stall{})
		c := costs{group: s.group, procfs: s.procfs, most: 2}
		if err := c.begin(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		set(tt.usual)
		err = c.check()
		for _, then := range tt.then {
			if err != nil {
				break
			}
			set(stall{tt.usual.group + then.group, tt.usual.host + then.host})
			err = c.check()
		}
		if (err == nil) != (tt.want == "") || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// Without pressure a page-out would not see what it costs.
func TestPageOutNeedsPressure(t *testing.T) {
	s, _, _ := sensorOf(t, 400, nil) // whose host has no /proc/pressure
	a := actions{group: s.group, procfs: s.procfs}
	r := a.pageOut(t.Context(), nil, policy.Paging{})
	if r.Result != "refused" || !strings.Contains(r.why, cgroup.ErrPSIOff.Error()) {
		t.Errorf("%+v", r)
	}
}
