package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MemoryCurrent is what the group and all below it use now, in bytes, page cache and shared memory included. Source: memory.current.
func (g *Group) MemoryCurrent() (uint64, error) { return read(g, g.path, "memory.current", parseValue) }

// SwapCurrent is the swap that the group and all below it hold, in bytes. Source: memory.swap.current; [ErrAbsent] where the kernel
// does not count swap.
func (g *Group) SwapCurrent() (uint64, error) {
	return read(g, g.path, "memory.swap.current", parseValue)
}

// Events counts what happened in the group and all below it since it was made, under the kernel's own names: low, high, max, oom,
// oom_kill, oom_group_kill. A counter that this kernel has not is not in the map. Source: memory.events.
func (g *Group) Events() (map[string]uint64, error) {
	return read(g, g.path, "memory.events", parseFlatKeyed)
}

// Stat tells what the group's memory is used for: anon, file, shmem and so on, most in bytes, some as counts of events.
// Source: memory.stat.
func (g *Group) Stat() (map[string]uint64, error) {
	return read(g, g.path, "memory.stat", parseFlatKeyed)
}

// parseValue reads a file of one number:
//
//	629145600
func parseValue(text string) (uint64, error) {
	return strconv.ParseUint(strings.TrimSuffix(text, "\n"), 10, 64)
}

// parseLimit reads a file of one number or the word max, which is no limit, nil:
//
//	1258291200
func parseLimit(text string) (*uint64, error) {
	if text == "max\n" {
		return nil, nil
	}
	bytes, err := parseValue(text)
	if err != nil {
		return nil, err // a number out of range comes with a value as well
	}
	return &bytes, nil
}

// parseFlatKeyed reads a file of one name and one number a line:
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

// pairs reads keys and values. In between are two separators: of the pairs, and of each key from its value.
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
			return nil, fmt.Errorf("%s is there twice", key)
		}
		values[key] = value
	}
	return values, nil
}
