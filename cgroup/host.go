package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// HostMemory is the host's memory and swap, in bytes. Source: /proc/meminfo,
// Documentation/filesystems/proc.rst.
type HostMemory struct {
	Total     uint64
	Available uint64 // the kernel's estimate of what can be allocated without swapping
	SwapTotal uint64
	SwapFree  uint64
}

// Host reads meminfo below procfs, which is /proc except in tests.
func Host(procfs string) (HostMemory, error) {
	name := filepath.Join(procfs, "meminfo")
	data, err := os.ReadFile(name)
	if err != nil {
		return HostMemory{}, fmt.Errorf("reading host memory: %w", err)
	}
	h, err := parseMeminfo(string(data))
	if err != nil {
		return HostMemory{}, fmt.Errorf("parsing %s: %w", name, err)
	}
	return h, nil
}

// parseMeminfo parses the lines that it needs and skips the others:
//
//	MemTotal:        3009444 kB
//	MemFree:         2601816 kB
//	MemAvailable:    2689488 kB
//	SwapTotal:             0 kB
//	SwapFree:              0 kB
func parseMeminfo(text string) (HostMemory, error) {
	fields, err := pairs(text, "\n", ":")
	if err != nil {
		return HostMemory{}, err
	}
	var h HostMemory
	for key, dst := range map[string]*uint64{
		"MemTotal": &h.Total, "MemAvailable": &h.Available,
		"SwapTotal": &h.SwapTotal, "SwapFree": &h.SwapFree,
	} {
		field, found := fields[key]
		if !found {
			return HostMemory{}, fmt.Errorf("no line %s", key)
		}
		kib, found := strings.CutSuffix(strings.TrimLeft(field, " "), " kB")
		if !found {
			return HostMemory{}, fmt.Errorf("%s: %q has no unit kB", key, field)
		}
		v, err := strconv.ParseUint(kib, 10, 54) // so that the count of bytes fits 64 bits
		if err != nil {
			return HostMemory{}, fmt.Errorf("%s: %w", key, err)
		}
		*dst = v << 10
	}
	return h, nil
}
