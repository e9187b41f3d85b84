package cgroup

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// MemoryCurrent returns the memory of the group and its descendants, in bytes, including
// page cache and shared memory. Source: memory.current.
func (g *Group) MemoryCurrent() (uint64, error) {
	return read(g, g.path, "memory.current", parseValue)
}

// SwapCurrent returns the swap of the group and its descendants, in bytes. Source:
// memory.swap.current. The error is [ErrAbsent] if the kernel does not count swap.
func (g *Group) SwapCurrent() (uint64, error) {
	return read(g, g.path, "memory.swap.current", parseValue)
}

// Events returns the counts of events in the group and its descendants since it was
// created, by the kernel's names: low, high, max, oom, oom_kill, oom_group_kill. The map
// lacks counters that this kernel does not have. Source: memory.events.
func (g *Group) Events() (map[string]uint64, error) {
	return read(g, g.path, "memory.events", parseFlatKeyed)
}

// Stat returns what the group's memory is used for: anon, file, shmem and so on. Most
// values are in bytes, some are counts of events. Source: memory.stat.
func (g *Group) Stat() (map[string]uint64, error) {
	return read(g, g.path, "memory.stat", parseFlatKeyed)
}

// OOMGroup returns the outermost group, of this one and its ancestors, whose processes
// the OOM killer kills all together; "" if there is none. Source: memory.oom.group.
func (g *Group) OOMGroup() (string, error) {
	outermost := ""
	for at := g.path; ; at = path.Dir(at) {
		together, err := read(g, at, "memory.oom.group", parseValue)
		// The root group has no such file. But the root of a cgroup namespace has.
		if err != nil && (at != "/" || !errors.Is(err, ErrAbsent)) {
			return "", err
		}
		if together != 0 {
			outermost = at
		}
		if at == "/" {
			return outermost, nil
		}
	}
}

// parseValue parses a file of one number:
//
//	629145600
func parseValue(text string) (uint64, error) {
	return strconv.ParseUint(strings.TrimSuffix(text, "\n"), 10, 64)
}

// parseLimit parses a file of one number, or of the word max, for which it returns nil:
//
//	1258291200
func parseLimit(text string) (*uint64, error) {
	if text == "max\n" {
		return nil, nil
	}
	bytes, err := parseValue(text)
	if err != nil {
		return nil, err // a number out of range has a value as well
	}
	return &bytes, nil
}

// parseFlatKeyed parses a file with one name and one number in each line:
//
//	low 0
//	high 12
//	max 0
//	oom 0
//	oom_kill 0
//	oom_group_kill 0
func parseFlatKeyed(text string) (map[string]uint64, error) {
	fields, err := pairs(text, "\n", " ")
	if err != nil {
		return nil, err
	}
	values := make(map[string]uint64, len(fields))
	for key, field := range fields {
		if values[key], err = strconv.ParseUint(field, 10, 64); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return values, nil
}

// pairs parses keys and values: between separates the pairs, within a key from its value.
func pairs(text, between, within string) (map[string]string, error) {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil, errors.New("file is empty")
	}
	values := make(map[string]string)
	for pair := range strings.SplitSeq(text, between) {
		key, value, found := strings.Cut(pair, within)
		if !found || key == "" {
			return nil, fmt.Errorf("%q is not a name and a value", pair)
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("%s occurs twice", key)
		}
		values[key] = value
	}
	return values, nil
}
