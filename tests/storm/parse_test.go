package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Answers of real masters to `show proc`.
const (
	// 2.6.12 after a reload: the first generation is held by a connection.
	showProc26 = `#<PID>          <type>          <reloads>       <uptime>        <version>      
520             master          1 [failed: 0]   0d00h00m02s     2.6.12-1+deb12u4
# workers
529             worker          0               0d00h00m01s     2.6.12-1+deb12u4
# old workers
523             worker          1               0d00h00m02s     2.6.12-1+deb12u4
# programs

`
	// The same one after a reload that failed.
	showProcAfterFailure = `#<PID>          <type>          <reloads>       <uptime>        <version>      
520             master          2 [failed: 1]   0d00h00m03s     2.6.12-1+deb12u4
# workers
529             worker          1               0d00h00m02s     2.6.12-1+deb12u4
# old workers
523             worker          2               0d00h00m03s     2.6.12-1+deb12u4
# programs

`
)

func TestParseProcesses(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       processes
	}{
		{"2.6", showProc26, processes{Master: 520, Workers: []int{529}, OldWorkers: []int{523}}},
		{"after a failed reload", showProcAfterFailure,
			processes{Master: 520, FailedReload: 1, Workers: []int{529}, OldWorkers: []int{523}}},
		// Some versions list the live worker so after a failed reload: their "#
		// workers" is empty.
		{"live worker among the old",
			"1 master 1 [failed: 1] 0d\n# workers\n# old workers\n2 worker 1 0d\n",
			processes{Master: 1, FailedReload: 1, OldWorkers: []int{2}}},
		{"no count of failures", "1 master 5 0d\n# workers\n2 worker 0 0d\n",
			processes{Master: 1, Workers: []int{2}}},
	} {
		got, err := parseProcesses(strings.NewReader(test.text))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, %v, want %+v", test.name, got, err, test.want)
		}
	}
}

func TestParseProcessesRefuses(t *testing.T) {
	for _, text := range []string{
		"", "Unknown command.\n", "# workers\n2 worker 0 0d\n", "1 master 5 [failed: x] 0d\n",
		"-1 master 0 0d\n", "7\n",
	} {
		if got, err := parseProcesses(strings.NewReader(text)); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

func FuzzParseProcesses(f *testing.F) {
	f.Add(showProc26)
	f.Add(showProcAfterFailure)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseProcesses(strings.NewReader(text))
		if err == nil && p.Master <= 0 {
			t.Errorf("%+v without a master and without an error", p)
		}
	})
}

const (
	memoryEvents   = "low 0\nhigh 3\nmax 4711\noom 5\noom_kill 4\noom_group_kill 0\n"
	memoryPressure = "some avg10=0.00 avg60=0.12 avg300=0.05 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.01 total=7654\n"
)

func TestParseCounter(t *testing.T) {
	for _, test := range []struct {
		text, first, key string
		want             int64
	}{
		{memoryEvents, "", "oom_kill", 4},
		{memoryEvents, "", "oom", 5},
		{memoryPressure, "some", "total", 1234567},
		{memoryPressure, "full", "total", 7654},
	} {
		got, err := parseCounter(strings.NewReader(test.text), test.first, test.key)
		if err != nil || got != test.want {
			t.Errorf("%s %s: got %d, %v, want %d", test.first, test.key, got, err, test.want)
		}
	}
	for _, text := range []string{"", "oom_kill\n", "oom_kill x\n", "oom_killer 4\n",
		"some total=\n"} {
		if got, err := parseCounter(strings.NewReader(text), "", "oom_kill"); err == nil {
			t.Errorf("oom_kill of %q: got %d, want an error", text, got)
		}
	}
}

func FuzzParseCounter(f *testing.F) {
	f.Add(memoryEvents, "", "oom_kill")
	f.Add(memoryPressure, "full", "total")
	f.Fuzz(func(t *testing.T, text, first, key string) {
		if n, err := parseCounter(strings.NewReader(text), first, key); err != nil && n != 0 &&
			n != 1<<63-1 && n != -1<<63 {
			t.Errorf("%d beside the error %v", n, err)
		}
	})
}

func TestParseStart(t *testing.T) {
	const stat = "77 (a (b) c) %s 1 77 77 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 2400256 300 18446744073709551615 1"
	if got, err := parseStart(strings.Replace(stat, "%s", "S", 1)); err != nil || got != 987654 {
		t.Errorf("got %d, %v, want 987654", got, err)
	}
	for _, text := range []string{"", "77 (a) S 1", strings.Replace(stat, "%s", "Z", 1)} {
		if got, err := parseStart(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
	self, err := lookUp(os.Getpid())
	if err != nil || !self.alive() {
		t.Errorf("our own process %+v does not count as alive: %v", self, err)
	}
	if self.start++; self.alive() {
		t.Error("a process with our pid and another start time counts as alive")
	}
}

// TestMeterAcrossRestart: a group made again begins at 0, and what the old one counted
// is not lost.
func TestMeterAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	write := func(current, kills, some string) {
		t.Helper()
		for name, text := range map[string]string{
			"memory.current": current + "\n", "memory.peak": current + "\n",
			"memory.events":   "oom_kill " + kills + "\n",
			"memory.pressure": "some avg10=0.00 total=" + some + "\nfull avg10=0.00 total=0\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("900", "2", "1000")
	m := newMeter(group{dir})
	write("1000", "5", "1500")
	m.sample()
	write("10", "1", "20")
	sum, peak := m.result()
	if sum == nil || sum.OOMKill != 4 || sum.StallSome != 520 {
		t.Errorf("got %+v, want 3+1 kills and 500+20 us of stall", sum)
	}
	if peak == nil || *peak != 1000 {
		t.Errorf("peak: got %v, want 1000", peak)
	}
}

// TestMeterWithoutFiles: absent is not zero.
func TestMeterWithoutFiles(t *testing.T) {
	sum, peak := newMeter(group{t.TempDir()}).result()
	if sum != nil || peak != nil {
		t.Errorf("got %v and %v of an empty folder, want neither", sum, peak)
	}
}

func TestParseFlags(t *testing.T) {
	for _, test := range []struct {
		args string
		want settings
	}{
		{"", settings{Kind: "cache", Reloads: 8, Tunnels: 20, Interval: 3 * time.Second,
			CacheSize: 1_000_000}},
		{"--kind heap", settings{Kind: "heap", Reloads: 8, Tunnels: 20, Interval: 25 * time.Second,
			Burst: 4, CacheSize: 1_000_000, HeapMiB: 100}},
		{"--kind map --hard-stop-after 30s", settings{Kind: "map", Reloads: 8, Tunnels: 20,
			Interval: 5 * time.Second, CacheSize: 20_000, HeapMiB: 290, Certificates: 200,
			HardStop: 30 * time.Second}},
		{"--reloads 2 --kind flood",
			settings{Kind: "flood", Reloads: 2, Tunnels: 5, Interval: 300 * time.Millisecond,
				CacheSize: 1_000_000}},
	} {
		got, err := parseFlags(strings.Fields(test.args))
		test.want.Unit, test.want.Limit, test.want.ConfigDir, test.want.MaxConn = "haproxy.service",
			"1200M", "/etc/haproxy", 2000
		test.want.Swap = "0"
		test.want.Settle, test.want.ReloadTimeout = 5*time.Second, 5*time.Minute
		if err != nil || got != test.want {
			t.Errorf("%q: got %+v, %v, want %+v", test.args, got, err, test.want)
		}
	}
	for _, args := range []string{
		"--kind hail", "--reloads 0", "--limit lots", "--break-config-at 9", "--tunnels -1",
		"--certificates -1", "cache", "--limit 99999999999G",
	} {
		if got, err := parseFlags(strings.Fields(args)); err == nil {
			t.Errorf("%q: got %+v, want an error", args, got)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "4096": 4096, "7K": 7 << 10,
		"1200M": 1200 << 20, "2G": 2 << 30} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"M", "0", "-1M", "1.5G", "1T"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

// TestHowItEnded: the words are what a report is read by.
func TestHowItEnded(t *testing.T) {
	for err, want := range map[error]string{
		io.ErrUnexpectedEOF: "EOF", errWrongBytes: errWrongBytes.Error(),
		os.ErrDeadlineExceeded: "no echo",
	} {
		if got := howItEnded(err); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}

// TestWrongEcho: a tunnel that carries the bytes of another is broken.
func TestWrongEcho(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		defer there.Close()
		text := make([]byte, 6)
		io.ReadFull(there, text)
		there.Write([]byte("hallo\n"))
	}()
	if err := exchange(here, "hello\n"); !errors.Is(err, errWrongBytes) {
		t.Errorf("got %v, want %v", err, errWrongBytes)
	}
}
