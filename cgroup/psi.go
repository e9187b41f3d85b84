package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const pressureFile = "memory.pressure"

// Pressure tells how much time is lost to waiting for memory. Source: the
// kernel's Documentation/accounting/psi.rst.
type Pressure struct {
	// Some is the time in which at least one task waited.
	Some Stall
	// Full is the time in which every task that could have run waited; nil
	// where the kernel does not give it.
	Full *Stall
}

// A Stall is one line of a pressure file.
type Stall struct {
	// Share of the last 10, 60 and 300 seconds, in percent. The kernel brings
	// these up to date every 2 seconds.
	Avg10, Avg60, Avg300 float64
	// Total is all stall since the group was made, to the microsecond. The
	// difference of two readings is the exact stall between them.
	Total time.Duration
}

// Pressure reads the group's memory.pressure. The error is [ErrPSIOff] where
// the kernel keeps no such figures.
func (g *Group) Pressure() (Pressure, error) {
	data, err := g.read(pressureFile)
	if err != nil {
		return Pressure{}, err
	}
	p, err := parsePressure(bytes.NewReader(data))
	if err != nil {
		return Pressure{}, fmt.Errorf("parsing %s of cgroup %s: %w", pressureFile, g.path, err)
	}
	return p, nil
}

// HostPressure reads the memory pressure of the whole host from
// pressure/memory below procfs, with errors as of [Group.Pressure].
func HostPressure(procfs string) (Pressure, error) {
	name := filepath.Join(procfs, "pressure", "memory")
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) {
		return Pressure{}, fmt.Errorf("reading host pressure: %w: %w", ErrPSIOff, err)
	}
	if err != nil {
		return Pressure{}, fmt.Errorf("reading host pressure: %w", err)
	}
	p, err := parsePressure(bytes.NewReader(data))
	if err != nil {
		return Pressure{}, fmt.Errorf("parsing %s: %w", name, err)
	}
	return p, nil
}

// parsePressure reads a pressure file:
//
//	some avg10=2.04 avg60=0.75 avg300=0.40 total=157622151
//	full avg10=1.50 avg60=0.55 avg300=0.29 total=114863213
//
// Lines and keys that are new to it are passed over.
func parsePressure(r io.Reader) (Pressure, error) {
	var p Pressure
	var some *Stall
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		var dst **Stall
		switch kind {
		case "some":
			dst = &some
		case "full":
			dst = &p.Full
		default:
			continue
		}
		if *dst != nil {
			return Pressure{}, fmt.Errorf("%s is there twice", kind)
		}
		stall, err := parseStall(rest)
		if err != nil {
			return Pressure{}, fmt.Errorf("%s: %w", kind, err)
		}
		*dst = &stall
	}
	if err := lines.Err(); err != nil {
		return Pressure{}, err
	}
	if some == nil {
		return Pressure{}, errors.New("no line of some")
	}
	p.Some = *some
	return p, nil
}

func parseStall(text string) (Stall, error) {
	fields := make(map[string]string)
	for field := range strings.FieldsSeq(text) {
		key, value, found := strings.Cut(field, "=")
		if !found {
			return Stall{}, fmt.Errorf("%q is not key=value", field)
		}
		if _, twice := fields[key]; twice {
			return Stall{}, fmt.Errorf("%s is there twice", key)
		}
		fields[key] = value
	}
	var s Stall
	for key, dst := range map[string]*float64{"avg10": &s.Avg10, "avg60": &s.Avg60, "avg300": &s.Avg300} {
		v, err := strconv.ParseFloat(fields[key], 64)
		if err != nil {
			return Stall{}, fmt.Errorf("%s: %w", key, err)
		}
		if !(v >= 0 && v <= 100) { // so written that NaN is refused as well
			return Stall{}, fmt.Errorf("%s: %v is not a percentage", key, v)
		}
		*dst = v
	}
	total, err := strconv.ParseUint(fields["total"], 10, 64)
	if err != nil {
		return Stall{}, fmt.Errorf("total: %w", err)
	}
	if total > math.MaxInt64/uint64(time.Microsecond) {
		return Stall{}, fmt.Errorf("total: %d us is beyond what a duration holds", total)
	}
	s.Total = time.Duration(total) * time.Microsecond
	return s, nil
}
