package cgroup

import (
	"errors"
	"path"
	"strings"
)

// A Limit is one bound on a group's memory, with the usage.
type Limit struct {
	Group string // path of the group that has the limit; "" for the host
	Kind  string // the kernel's name: memory.high, memory.max, memory.swap.max, MemAvailable
	Bytes uint64
	Usage uint64 // bytes; may be above Bytes, as with memory.high
}

// String returns the limit's group and kind.
func (l Limit) String() string { return strings.TrimSpace(l.Group + " " + l.Kind) }

// Headroom returns the bytes left below the limit, 0 at the limit and above it.
func (l Limit) Headroom() uint64 {
	if l.Usage >= l.Bytes {
		return 0
	}
	return l.Bytes - l.Usage
}

// Percent returns how much of the limit is used. It is above 100 if the limit is
// exceeded.
func (l Limit) Percent() float64 {
	if l.Bytes == 0 {
		return 100 // full without any usage
	}
	return 100 * float64(l.Usage) / float64(l.Bytes)
}

// Limit returns the host's memory as a limit.
func (h HostMemory) Limit() Limit {
	used := uint64(0)
	// Available is an estimate. The kernel does not guarantee that it is below Total.
	if h.Available < h.Total {
		used = h.Total - h.Available
	}
	return Limit{Kind: "MemAvailable", Bytes: h.Total, Usage: used}
}

// Nearest returns the limit with the least headroom, of the host's and the others. It is
// the first to be hit when the group grows, whatever its percentage is.
func Nearest(host HostMemory, limits []Limit) Limit {
	nearest := host.Limit()
	for _, l := range limits {
		if l.Headroom() < nearest.Headroom() {
			nearest = l
		}
	}
	return nearest
}

// Limits returns every memory.high and memory.max that applies to the group: its own
// first, then those of each ancestor. A value of "max" is not a limit and is left out.
func (g *Group) Limits() ([]Limit, error) {
	return g.limits("memory.current", "memory.high", "memory.max")
}

// SwapLimits does for memory.swap.max what [Group.Limits] does. The error is [ErrAbsent]
// if the kernel does not count swap.
func (g *Group) SwapLimits() ([]Limit, error) {
	return g.limits("memory.swap.current", "memory.swap.max")
}

func (g *Group) limits(usageFile string, kinds ...string) ([]Limit, error) {
	var all []Limit
	for at := g.path; ; at = path.Dir(at) {
		found, err := g.limitsAt(at, usageFile, kinds)
		// The root group has no limit files. But the root of a cgroup namespace is a
		// group with limits.
		if err != nil && (at != "/" || !errors.Is(err, ErrAbsent)) {
			return nil, err
		}
		all = append(all, found...)
		if at == "/" {
			return all, nil
		}
	}
}

// limitsAt returns the limits of the group itself or of one of its ancestors.
func (g *Group) limitsAt(at, usageFile string, kinds []string) ([]Limit, error) {
	var found []Limit
	for _, kind := range kinds {
		bytes, err := read(g, at, kind, parseLimit)
		if err != nil {
			return nil, err
		}
		if bytes == nil {
			continue
		}
		usage, err := read(g, at, usageFile, parseValue)
		if err != nil {
			return nil, err
		}
		found = append(found, Limit{Group: at, Kind: kind, Bytes: *bytes, Usage: usage})
	}
	return found, nil
}
