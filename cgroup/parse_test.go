package cgroup

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	psiSample     = "some avg10=2.04 avg60=0.75 avg300=0.40 total=157622151\nfull avg10=1.50 avg60=0.55 avg300=0.29 total=114863213\n"
	meminfoSample = `MemTotal:        3009444 kB
MemFree:         2601816 kB
MemAvailable:    2689488 kB
Buffers:            9744 kB
Cached:           186532 kB
SwapCached:            0 kB
SwapTotal:       1048572 kB
SwapFree:        1048060 kB
HugePages_Total:       0
DirectMap2M:     3106816 kB
`
)

func TestParsePressure(t *testing.T) {
	p, err := parsePressure(psiSample)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Stall{2.04, 0.75, 0.40, 157622151 * time.Microsecond}); p.Some != want {
		t.Errorf("some: %v, want %v", p.Some, want)
	}
	if want := (Stall{1.50, 0.55, 0.29, 114863213 * time.Microsecond}); p.Full == nil || *p.Full != want {
		t.Errorf("full: %v, want %v", p.Full, want)
	}

	some, _, _ := strings.Cut(psiSample, "\n")
	p, err = parsePressure(some + "\n")
	if err != nil || p.Full != nil {
		t.Errorf("without a line of full: %v, %v; want a nil Full", p, err)
	}
	p, err = parsePressure("irq avg10=x\n" + strings.Replace(psiSample, "total", "avg900=x total", 1))
	if err != nil || p.Some.Avg10 != 2.04 {
		t.Errorf("with a new line and a new key: %v, %v", p, err)
	}
	for _, bad := range []string{
		"",
		"full avg10=1.50 avg60=0.55 avg300=0.29 total=114863213\n",
		"some avg10=2.04 avg60=0.75 avg300=0.40\n",
		"some avg10=2.04 avg60=0.75 total=1\n",
		"some avg10=NaN avg60=0.75 avg300=0.40 total=1\n",
		"some avg10=-1 avg60=0.75 avg300=0.40 total=1\n",
		"some avg10=2.04 avg60=101 avg300=0.40 total=1\n",
		"some avg10=2.04 avg60=0.75 avg300=0.40 total=-1\n",
		"some avg10=2.04 avg60=0.75 avg300=0.40 total=18446744073709551615\n",
		"some avg10=2.04 avg10=2.04 avg60=0.75 avg300=0.40 total=1\n",
		"some avg10=2.04 avg60=0.75 avg300=0.40 total=1 junk\n",
		psiSample + psiSample,
	} {
		if p, err := parsePressure(bad); err == nil {
			t.Errorf("parsePressure(%q) = %v, want an error", bad, p)
		}
	}
}

func TestParseMeminfo(t *testing.T) {
	h, err := parseMeminfo(meminfoSample)
	if want := (HostMemory{3009444 << 10, 2689488 << 10, 1048572 << 10, 1048060 << 10}); err != nil || h != want {
		t.Errorf("%v, %v; want %v", h, err, want)
	}
	for _, bad := range []string{
		"",
		strings.Replace(meminfoSample, "MemAvailable", "MemGuessed", 1),
		strings.Replace(meminfoSample, "2689488 kB", "2689488 MB", 1),
		strings.Replace(meminfoSample, "2689488 kB", "2689488", 1),
		strings.Replace(meminfoSample, "2689488", "-1", 1),
		strings.Replace(meminfoSample, "2689488", "18446744073709551615", 1),
	} {
		if h, err := parseMeminfo(bad); err == nil {
			t.Errorf("parseMeminfo(%q) = %v, want an error", bad, h)
		}
	}
}

func TestHost(t *testing.T) {
	procfs := t.TempDir()
	if _, err := Host(procfs); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no meminfo: %v, want not exist", err)
	}
	if err := os.WriteFile(filepath.Join(procfs, "meminfo"), []byte(meminfoSample), 0o644); err != nil {
		t.Fatal(err)
	}
	if h, err := Host(procfs); err != nil || h.Available != 2689488<<10 {
		t.Errorf("host memory: %v, %v", h, err)
	}
}

func FuzzParsePressure(f *testing.F) {
	f.Add([]byte(psiSample))
	f.Add([]byte("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePressure(string(data))
		if err != nil {
			return
		}
		for _, s := range []*Stall{&p.Some, p.Full} {
			if s == nil {
				continue
			}
			for _, avg := range []float64{s.Avg10, s.Avg60, s.Avg300} {
				if math.IsNaN(avg) || avg < 0 || avg > 100 {
					t.Errorf("average %v in %+v", avg, s)
				}
			}
			if s.Total < 0 {
				t.Errorf("total %v", s.Total)
			}
		}
	})
}

func FuzzParseMeminfo(f *testing.F) {
	f.Add([]byte(meminfoSample))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseMeminfo(string(data))
		if err == nil && h.Total%1024 != 0 {
			t.Errorf("total of %d bytes is not whole KiB", h.Total)
		}
	})
}

func FuzzParseFlatKeyed(f *testing.F) {
	f.Add([]byte("low 0\nhigh 12\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n"))
	f.Add([]byte("anon 52428800\nfile 503316480\nkernel 2031616\nshmem 497025024\nworkingset_refault_anon 0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := parseFlatKeyed(string(data))
		if lines := bytes.Count(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) + 1; err == nil && len(values) != lines {
			t.Errorf("%d values of %d lines: %v", len(values), lines, values)
		}
	})
}

func FuzzParseLimit(f *testing.F) {
	f.Add([]byte("max\n"))
	f.Add([]byte("1258291200\n"))
	f.Add([]byte("20000000000000000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		limit, err := parseLimit(string(data))
		if err != nil && limit != nil {
			t.Errorf("parseLimit(%q) = %d, %v", data, *limit, err)
		}
		if v, verr := parseValue(string(data)); (verr == nil) != (limit != nil) || limit != nil && v != *limit {
			t.Errorf("parseValue(%q) = %d, %v beside a limit of %v, %v", data, v, verr, limit, err)
		}
	})
}

func FuzzParseProcs(f *testing.F) {
	f.Add([]byte("412\n415\n"))
	f.Add([]byte("0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pids, _ := parseProcs(string(data))
		for _, pid := range pids {
			if pid <= 0 {
				t.Errorf("pid %d: a signal to it would not go to one process", pid)
			}
		}
	})
}
