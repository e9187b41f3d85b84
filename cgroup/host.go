package cgroup

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// HostMemory is the host's memory and swap in bytes. Source: /proc/meminfo,
// Documentation/filesystems/proc.rst.
type HostMemory struct {
	Total     uint64
	Available uint64 // what can be had without swapping, by the kernel's estimate
	SwapTotal uint64
	SwapFree  uint64
}

// Host reads meminfo below procfs, which is /proc but in tests.
func Host(procfs string) (HostMemory, error) {
	name := filepath.Join(procfs, "meminfo")
	data, err := os.ReadFile(name)
	if err != nil {
		return HostMemory{}, fmt.Errorf("reading host memory: %w", err)
	}
	h, err := parseMeminfo(bytes.NewReader(data))
	if err != nil {
		return HostMemory{}, fmt.Errorf("parsing %s: %w", name, err)
	}
	return h, nil
}

// parseMeminfo reads the lines it needs and passes over the others:
//
//	MemTotal:        3009444 kB
//	MemFree:         2601816 kB
//	MemAvailable:    2689488 kB
//	SwapTotal:             0 kB
//	SwapFree:              0 kB
func parseMeminfo(r io.Reader) (HostMemory, error) {
	var h HostMemory
	missing := map[string]*uint64{
		"MemTotal": &h.Total, "MemAvailable": &h.Available,
		"SwapTotal": &h.SwapTotal, "SwapFree": &h.SwapFree,
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(missing) > 0 {
		key, text, _ := strings.Cut(lines.Text(), ":")
		dst, wanted := missing[key]
		if !wanted {
			continue
		}
		kib, found := strings.CutSuffix(strings.TrimLeft(text, " "), " kB")
		if !found {
			return HostMemory{}, fmt.Errorf("%s: %q has no unit of kB", key, text)
		}
		v, err := strconv.ParseUint(kib, 10, 64)
		if err != nil {
			return HostMemory{}, fmt.Errorf("%s: %w", key, err)
		}
		if v > math.MaxUint64/1024 {
			return HostMemory{}, fmt.Errorf("%s: %d kB is beyond what a byte count holds", key, v)
		}
		*dst = v * 1024
		delete(missing, key)
	}
	if err := lines.Err(); err != nil {
		return HostMemory{}, err
	}
	for key := range missing {
		return HostMemory{}, fmt.Errorf("no line of %s", key)
	}
	return h, nil
}
