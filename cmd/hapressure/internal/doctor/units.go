package doctor

import (
	"path"
	"strings"
)

const (
	ownUnit = "hapressure.service"
	oomd    = "systemd-oomd.service"
)

// unitNames are the units whose properties the checks need.
func (e *exam) unitNames() []string {
	names := []string{ownUnit, oomd}
	for _, t := range e.status.Targets {
		names = append(names, unitsOf(t.Cgroup)...)
	}
	return names
}

// unitsOf returns the unit whose processes a cgroup holds, and the slices above it, the
// outermost first. What lies below a service or a scope is its own affair: a container,
// for example.
func unitsOf(cgroup string) []string {
	units := []string{"-.slice"}
	for name := range strings.SplitSeq(strings.Trim(cgroup, "/"), "/") {
		name = strings.TrimPrefix(name, "_") // systemd's cg_escape
		switch path.Ext(name) {
		case ".slice":
			units = append(units, name)
		case ".service", ".scope":
			return append(units, name)
		default:
			return units
		}
	}
	return units
}
