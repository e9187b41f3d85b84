package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// group reads the memory figures of one cgroup. Its folder is "" where the unit has no
// cgroup of its own: every reading is then an error.
type group struct{ dir string }

func (g group) read(name string) ([]byte, error) {
	if g.dir == "" {
		return nil, fmt.Errorf("reading %s: the unit has no cgroup", name)
	}
	return os.ReadFile(filepath.Join(g.dir, name))
}

// bytes reads a file of one number of bytes (memory.current, memory.peak, memory.max).
// "max" is an error: it is no number.
func (g group) bytes(name string) (int64, error) {
	text, err := g.read(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parsing %s: %w", name, err)
	}
	return n, nil
}

// counters are those of a cgroup that the report takes differences of.
type counters struct {
	OOMKill   int64 // memory.events: oom_kill
	StallSome int64 // memory.pressure: total of some, microseconds
	StallFull int64 // and of full
	NoStalls  bool  // pressure figures are off
}

// counters reads memory.events and memory.pressure (kernel: admin-guide/cgroup-v2.rst,
// accounting/psi.rst).
func (g group) counters() (counters, error) {
	var c counters
	for _, want := range []struct {
		file, line, key string
		to              *int64
	}{
		{"memory.events", "", "oom_kill", &c.OOMKill},
		{"memory.pressure", "some", "total", &c.StallSome},
		{"memory.pressure", "full", "total", &c.StallFull},
	} {
		text, err := g.read(want.file)
		if want.file == "memory.pressure" &&
			(errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP)) {
			c.NoStalls = true // booted with psi=0, or turned off for this group
			continue
		}
		if err != nil {
			return counters{}, err
		}
		if *want.to, err = parseCounter(bytes.NewReader(text), want.line, want.key); err != nil {
			return counters{}, fmt.Errorf("parsing %s: %w", want.file, err)
		}
	}
	return c, nil
}

// parseCounter finds the number of key in the kernel's "key number" lines, or, with a
// line's first word given, in its "word key=number key=number" lines.
func parseCounter(r io.Reader, first, key string) (int64, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if first == "" && len(fields) == 2 && fields[0] == key {
			return strconv.ParseInt(fields[1], 10, 64)
		}
		if first == "" || len(fields) == 0 || fields[0] != first {
			continue
		}
		for _, f := range fields[1:] {
			if number, ok := strings.CutPrefix(f, key+"="); ok {
				return strconv.ParseInt(number, 10, 64)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("no %s", strings.TrimSpace(first+" "+key))
}

// meter follows a group through the storm. systemd makes a new group when it restarts
// the unit, and its figures begin at nothing again; so the meter adds up what it sees
// instead of comparing the end with the start.
type meter struct {
	group
	mu    sync.Mutex
	last  counters
	sum   counters
	peak  int64
	known bool // the counters could be read at the start; without that their sums mean nothing
}

func newMeter(g group) *meter {
	m := &meter{group: g}
	last, err := g.counters()
	m.last, m.known = last, err == nil
	m.sample()
	return m
}

// run samples ten times a second until ctx ends: a peak without memory.peak (kernels
// before 5.19) is only as good as that.
func (m *meter) run(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.sample()
		}
	}
}

func (m *meter) sample() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range []string{"memory.current", "memory.peak"} {
		if n, err := m.bytes(name); err == nil {
			m.peak = max(m.peak, n)
		}
	}
	now, err := m.counters()
	if err != nil || !m.known {
		return
	}
	m.sum.NoStalls = now.NoStalls
	add(&m.sum.OOMKill, m.last.OOMKill, now.OOMKill)
	add(&m.sum.StallSome, m.last.StallSome, now.StallSome)
	add(&m.sum.StallFull, m.last.StallFull, now.StallFull)
	m.last = now
}

// add adds what a counter grew by; one that fell has begun again at 0.
func add(sum *int64, last, now int64) {
	if now < last {
		last = 0
	}
	*sum += now - last
}

// result gives the sums and the peak; nil is what could not be read.
func (m *meter) result() (sum *counters, peak *int64) {
	m.sample()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known {
		s := m.sum
		sum = &s
	}
	if m.peak > 0 {
		p := m.peak
		peak = &p
	}
	return sum, peak
}
