package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// MemoryCurrent is what the group and all below it use now, in bytes, page
// cache and shared memory included. Source: memory.current.
func (g *Group) MemoryCurrent() (uint64, error) { return g.value("memory.current") }

// MemoryPeak is the most the group has used since it was made, in bytes.
// Source: memory.peak, from kernel 5.19 on; [ErrAbsent] before.
func (g *Group) MemoryPeak() (uint64, error) { return g.value("memory.peak") }

// SwapCurrent is the swap that the group and all below it hold, in bytes.
// Source: memory.swap.current; [ErrAbsent] where the kernel does not count swap.
func (g *Group) SwapCurrent() (uint64, error) { return g.value("memory.swap.current") }

// Events are the counters of memory.events under the kernel's own names: low,
// high, max, oom, oom_kill, oom_group_kill. A counter that this kernel has not
// is not in the map.
type Events map[string]uint64

// Events counts what happened in the group and all below it since it was made.
// Source: memory.events.
func (g *Group) Events() (Events, error) { return g.flatKeyed("memory.events") }

// EventsLocal is as [Group.Events], without the groups below.
// Source: memory.events.local.
func (g *Group) EventsLocal() (Events, error) { return g.flatKeyed("memory.events.local") }

// Stat tells what the group's memory is used for: anon, file, shmem and so on,
// most in bytes, some as counts of events. Source: memory.stat.
func (g *Group) Stat() (map[string]uint64, error) { return g.flatKeyed("memory.stat") }

func (g *Group) value(name string) (uint64, error) {
	data, err := g.read(name)
	if err != nil {
		return 0, err
	}
	v, err := parseValue(data)
	if err != nil {
		return 0, fmt.Errorf("parsing %s of cgroup %s: %w", name, g.path, err)
	}
	return v, nil
}

func (g *Group) flatKeyed(name string) (map[string]uint64, error) {
	data, err := g.read(name)
	if err != nil {
		return nil, err
	}
	values, err := parseFlatKeyed(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("parsing %s of cgroup %s: %w", name, g.path, err)
	}
	return values, nil
}

// parseValue reads a file of one number:
//
//	629145600
func parseValue(data []byte) (uint64, error) {
	return strconv.ParseUint(strings.TrimSuffix(string(data), "\n"), 10, 64)
}

// parseLimit reads a file of one number or the word max, which is no limit:
//
//	1258291200
func parseLimit(data []byte) (bytes uint64, limited bool, err error) {
	if string(data) == "max\n" {
		return 0, false, nil
	}
	bytes, err = parseValue(data)
	if err != nil {
		return 0, false, err // a number out of range comes with a value as well
	}
	return bytes, true, nil
}

// parseFlatKeyed reads a file of one name and one number a line:
//
//	low 0
//	high 12
//	max 0
//	oom 0
//	oom_kill 0
//	oom_group_kill 0
func parseFlatKeyed(r io.Reader) (map[string]uint64, error) {
	values := make(map[string]uint64)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		key, text, found := strings.Cut(lines.Text(), " ")
		if !found || key == "" {
			return nil, fmt.Errorf("line %q is not a name and a number", lines.Text())
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("%s is there twice", key)
		}
		v, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		values[key] = v
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return nil, errors.New("file is empty")
	}
	return values, nil
}
