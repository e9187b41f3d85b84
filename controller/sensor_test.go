package controller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hapressure/cgroup"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/tests/cgrouptest"
)

// sensorOf makes a sensor of a group, on a host of 1000 MiB of which available are left.
func sensorOf(t *testing.T, available int, files map[string]string) (*sensor, cgrouptest.Tree, *recorder) {
	t.Helper()
	tree := cgrouptest.New(t)
	tree.Group(group, files)
	gr, err := cgroup.Open(tree.Mount, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gr.Close() })
	procfs := t.TempDir()
	meminfo := fmt.Sprintf("MemTotal: %d kB\nMemAvailable: %d kB\nSwapTotal: 0 kB\nSwapFree: "+
		"0 kB\n", 1000<<10, available<<10)
	if err := os.WriteFile(filepath.Join(procfs, "meminfo"), []byte(meminfo), 0o644); err != nil {
		t.Fatal(err)
	}
	j := newRecorder()
	s := newSensor(target{"haproxy.service", group, gr}, Events{j}, procfs)
	return &s, tree, j
}

func (s *sensor) limitsNow() view {
	v := view{Sample: policy.Sample{Now: time.Hour}}
	s.limits(&v)
	return v
}

const sensedMiB = 1 << 20

func line(n int) string { return fmt.Sprintf("%d\n", n) }

// TestLimitsThatCannotBe holds what becomes of limits and usage that cannot be, or that
// nothing could be done about.
func TestLimitsThatCannotBe(t *testing.T) {
	for _, tt := range []struct {
		name      string
		files     map[string]string
		footprint uint64
		usage     string // the reading, as text
		room      string
		missing   string // sensor that is reported
	}{
		{"a limit of 0 is " +
			"left out", map[string]string{"memory.high": "0\n", "memory.max": line(200 * sensedMiB), "memory.current": line(100 * sensedMiB)},
			10 * sensedMiB, "60", "10", "limits of 0"},
		{"a limit lowered below what is used is a " +
			"shortage", map[string]string{"memory.high": line(50 * sensedMiB), "memory.current": line(100 * sensedMiB)},
			10 * sensedMiB, "200", "0", ""},
		{"more used than the " +
			"host has", map[string]string{"memory.max": line(200 * sensedMiB), "memory.current": "18446744073709547520\n"},
			10 * sensedMiB, "more than the host has", "more than the host has", "memory.current"},
		{"a limit that cannot " +
			"be read", map[string]string{"memory.max": "garbage\n"}, 10 * sensedMiB, "garbage", "garbage", "memory.max"},
		{"no memory " +
			"controller", map[string]string{"memory.max": cgrouptest.Absent, "memory.high": cgrouptest.Absent}, 10 * sensedMiB, "60", "40", "memory.max"},
		{"a worker of nothing", nil, 0, "60", "not known", ""},
		{"a worker larger than the host", nil, 1 << 62, "60", "more than the host has", ""},
	} {
		s, _, j := sensorOf(t, 400, tt.files)
		s.footprint = tt.footprint
		v := s.limitsNow()
		for what, r := range map[string]policy.Reading{tt.usage: v.Usage, tt.room: v.ReloadRoom} {
			if got := r.Absent + fmt.Sprint(r.Value); !strings.Contains(got, what) || r.Absent == "" && fmt.Sprint(r.Value) != what {
				t.Errorf("%s: %q, want %q", tt.name, got, what)
			}
		}
		reported := ""
		for _, e := range j.all(kind(SensorMissing)) {
			reported += e.Fields["HAPRESSURE_SENSOR"]
		}
		if reported != tt.missing {
			t.Errorf("%s: reported %q, want %q", tt.name, reported, tt.missing)
		}
	}
}

// TestLimitOf0IsReportedOnce holds that what is left out is reported once, and again when
// it has changed.
func TestLimitOf0IsReportedOnce(t *testing.T) {
	s, tree, j := sensorOf(t, 400, map[string]string{"memory.high": "0\n"})
	for range 3 {
		s.limitsNow()
	}
	tree.Write(group, "memory.high", "max\n")
	s.limitsNow()
	tree.Write(group, "memory.high", "0\n")
	s.limitsNow()
	if n := len(j.all(kind(SensorMissing))); n != 2 {
		t.Errorf("reported %d times, want twice", n)
	}
}

// Anything in the cgroup can be a master for a moment. Gaps of masters that have exited
// are forgotten.
func TestMastersThatHaveGoneAreForgotten(t *testing.T) {
	j := newRecorder()
	s := sensor{gaps: gaps{"haproxy.service", Events{j}, map[string]string{"memory.max": "gone"}}}
	for pid := range 1000 {
		s.noteCLIs(0, []haproxy.Instance{
			{Master: haproxy.ID{PID: pid}, CLIErr: haproxy.ErrNoCLI}, {Master: haproxy.ID{PID: 5000}, CLIErr: haproxy.ErrNoCLI},
		})
	}
	if len(s.gaps.why) != 3 {
		t.Errorf("%d gaps are remembered: %v", len(s.gaps.why), s.gaps.why)
	}
	if n := len(j.all(kind(SensorMissing))); n != 1001 {
		t.Errorf("%d entries, want one for each master", n)
	}
}

// TestAScanCutShortByTheEndIsNotReported holds that hapressure, when it stops, reports no
// sensor as missing.
func TestAScanCutShortByTheEndIsNotReported(t *testing.T) {
	s, _, j := sensorOf(t, 400, map[string]string{"cgroup.procs": line(os.Getpid())})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.sense(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("sense: %v, want that ctx has ended", err)
	}
	for _, e := range j.all(kind(SensorMissing)) {
		t.Errorf("reported: %s", e.Message)
	}
}
