package controller

import (
	"context"
	"errors"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"hapressure/cgroup"
	"hapressure/policy"
	"hapressure/systemd"
)

// namesUnits reports whether the policy names units. Otherwise systemd is not needed: a
// container has none.
func (c *Controller) namesUnits() bool {
	return slices.ContainsFunc(c.policy().Targets, func(t policy.Target) bool {
		return t.Unit != ""
	})
}

// concerns reports whether a unit is, or may become, a target. On a host many others come
// and go.
func (c *Controller) concerns(unit string) bool {
	return slices.ContainsFunc(c.policy().Targets, func(t policy.Target) bool {
		ok, err := path.Match(t.Unit, unit)
		return ok && err == nil
	})
}

// find returns the cgroups of the targets that exist now, by name. If systemd does not
// answer, that is the error, it is not asked again, and the cgroups that are found are
// still returned.
func (c *Controller) find(
	ctx context.Context, units Units,
) (found map[string]string, unanswered error) {
	found = map[string]string{}
	p := c.policy()
	for _, t := range p.Targets {
		places, err := c.places(ctx, units, t)
		if err != nil {
			units, unanswered = nil, err
		}
		maps.Copy(found, places)
	}
	maps.DeleteFunc(found, func(name, _ string) bool { return p.For(name) == nil }) // disabled
	return found, unanswered
}

// places resolves one target to cgroups by name. A target that does not run now has none.
// The error is that systemd does not answer.
func (c *Controller) places(
	ctx context.Context, units Units, t policy.Target,
) (map[string]string, error) {
	if t.Cgroup != "" {
		return c.groups(ctx, t.Cgroup), nil
	}
	if units == nil {
		return nil, nil
	}
	names := []string{t.Unit}
	if isGlob(t.Unit) {
		var err error
		names, err = units.Match(ctx, t.Unit)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		if err != nil {
			c.events.SensorMissing(t.Unit, "systemd", err)
			return nil, nil
		}
		names = names[:min(len(names), matchLimit)]
	}
	places := map[string]string{}
	for _, name := range names {
		group, err := units.ControlGroup(ctx, name)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return places, err
		case err != nil && !errors.Is(err, systemd.ErrNoUnit):
			c.events.SensorMissing(name, "systemd", err)
		case group != "":
			places[name] = group
		}
	}
	return places, nil
}

func isGlob(text string) bool { return strings.ContainsAny(text, "*?[") }

// groups resolves the path of a cgroup, or a glob to those that HAProxy runs in.
func (c *Controller) groups(ctx context.Context, pattern string) map[string]string {
	pattern = path.Clean("/" + pattern)
	if !isGlob(pattern) {
		return map[string]string{pattern: pattern}
	}
	dirs, err := filepath.Glob(c.Cgroups + pattern)
	if err != nil {
		c.events.SensorMissing(pattern, "cgroup", err)
	}
	places := map[string]string{}
	for _, dir := range dirs {
		// A glob also matches files of a group, and groups without HAProxy: a node of
		// Kubernetes has more containers than hapressure could guard.
		at := strings.TrimPrefix(dir, c.Cgroups)
		if !printable(at) {
			continue
		}
		group, err := cgroup.Open(c.Cgroups, at)
		if err != nil {
			continue
		}
		pids, err := group.Procs()
		group.Close()
		if err == nil && len(places) < matchLimit && c.programs.Any(ctx, pids) {
			places[at] = at
		}
	}
	return places
}

// printable reports whether a path can be a target's name, which is part of logs and
// metrics: Prometheus's library panics at invalid UTF-8. No program that makes cgroups
// gives them other names.
func printable(path string) bool {
	return utf8.ValidString(path) &&
		!strings.ContainsFunc(path, func(r rune) bool { return !strconv.IsPrint(r) })
}
