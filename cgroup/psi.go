package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Pressure is the time that tasks lost because they waited for memory. Source:
// Documentation/accounting/psi.rst.
type Pressure struct {
	Some Stall  // the time in which at least one task waited
	Full *Stall // the time in which all tasks waited that could have run; nil = not reported
}

// A Stall is one line of a pressure file.
type Stall struct {
	// Percent of the last 10, 60 and 300 seconds. The kernel updates them every 2
	// seconds.
	Avg10, Avg60, Avg300 float64
	// Total is the stall since the group was created, with a resolution of 1 µs. The
	// difference of two readings is the exact stall between them.
	Total time.Duration
}

// Pressure reads the group's memory.pressure. The error is [ErrPSIOff] if the kernel does
// not measure pressure.
func (g *Group) Pressure() (Pressure, error) { return read(g, g.path, pressureFile, parsePressure) }

// HostPressure reads the pressure of the whole host below procfs, which is /proc except
// in tests. Source: /proc/pressure/memory. The error is [ErrPSIOff] if the kernel does
// not measure pressure.
func HostPressure(procfs string) (Pressure, error) {
	data, err := os.ReadFile(filepath.Join(procfs, "pressure/memory"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: %w", ErrPSIOff, err)
	}
	if err != nil {
		return Pressure{}, fmt.Errorf("reading the host's pressure: %w", err)
	}
	p, err := parsePressure(string(data))
	if err != nil {
		err = fmt.Errorf("parsing the host's pressure: %w", err)
	}
	return p, err
}

// parsePressure parses a pressure file:
//
//	some avg10=2.04 avg60=0.75 avg300=0.40 total=157622151
//	full avg10=1.50 avg60=0.55 avg300=0.29 total=114863213
//
// It skips lines and keys that it does not know.
func parsePressure(text string) (Pressure, error) {
	lines, err := pairs(text, "\n", " ")
	if err != nil {
		return Pressure{}, err
	}
	some, found := lines["some"]
	if !found {
		return Pressure{}, errors.New("no line some")
	}
	var p Pressure
	if p.Some, err = parseStall(some); err != nil {
		return Pressure{}, fmt.Errorf("some: %w", err)
	}
	if line, found := lines["full"]; found {
		full, err := parseStall(line)
		if err != nil {
			return Pressure{}, fmt.Errorf("full: %w", err)
		}
		p.Full = &full
	}
	return p, nil
}

func parseStall(text string) (Stall, error) {
	fields, err := pairs(text, " ", "=")
	if err != nil {
		return Stall{}, err
	}
	var s Stall
	averages := map[string]*float64{"avg10": &s.Avg10, "avg60": &s.Avg60, "avg300": &s.Avg300}
	for key, dst := range averages {
		v, err := strconv.ParseFloat(fields[key], 64)
		if err != nil {
			return Stall{}, fmt.Errorf("%s: %w", key, err)
		}
		if !(v >= 0 && v <= 100) { // in this form it rejects NaN as well
			return Stall{}, fmt.Errorf("%s: %v is not a percentage", key, v)
		}
		*dst = v
	}
	total, err := strconv.ParseUint(fields["total"], 10, 64)
	if err != nil {
		return Stall{}, fmt.Errorf("total: %w", err)
	}
	if total > math.MaxInt64/uint64(time.Microsecond) {
		return Stall{}, fmt.Errorf("total: %d us is too large for a duration", total)
	}
	s.Total = time.Duration(total) * time.Microsecond
	return s, nil
}
