package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Tree finds running service units by the names of their cgroups, without systemd. It
// knows no aliases, reports no changes and runs no hooks.
type Tree struct {
	mount string
}

// NewTree makes a Tree of the cgroups below the mount point of cgroup v2.
func NewTree(mount string) *Tree { return &Tree{mount} }

// slicesLimit bounds the slices that are read for one question. Those near the root come
// first: a node of Kubernetes has one slice for each pod, and pods are deeper than the
// units of the system.
const slicesLimit = 512

var errNoSystemd = fmt.Errorf("there is no connection to systemd: %w", errors.ErrUnsupported)

// ControlGroup is the cgroup of a running service unit. The error is [ErrNoUnit] if there
// is none.
func (t *Tree) ControlGroup(_ context.Context, name string) (group string, err error) {
	err = t.walk(func(unit, at string) bool {
		if unit == name {
			group = at
		}
		return group == ""
	})
	if err == nil && group == "" {
		err = fmt.Errorf("%w: none of the cgroups has its name", ErrNoUnit)
	}
	if err != nil {
		return "", fmt.Errorf("reading unit %q: %w", name, err)
	}
	return group, nil
}

// Match returns the names of the running service units that match a glob (path.Match), in
// order.
func (t *Tree) Match(_ context.Context, glob string) ([]string, error) {
	var names []string
	if err := t.walk(func(unit, _ string) bool {
		if ok, err := path.Match(glob, unit); ok && err == nil {
			names = append(names, unit)
		}
		return true
	}); err != nil {
		return nil, fmt.Errorf("listing units that match %q: %w", glob, err)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// walk visits the cgroups of service units until visit returns false. systemd puts each
// unit below slices only, and only root can make a cgroup in a slice: the cgroups within
// units are not visited, as a container or a user may call them what it likes.
func (t *Tree) walk(visit func(unit, at string) bool) error {
	all := []string{"/"}
	for i := 0; i < min(len(all), slicesLimit); i++ {
		entries, err := os.ReadDir(filepath.Join(t.mount, all[i]))
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue // the slice has ended
		}
		if err != nil {
			return fmt.Errorf("reading the cgroup tree: %w", err)
		}
		for _, e := range entries {
			at := path.Join(all[i], e.Name())
			switch kind := path.Ext(e.Name()); {
			case !e.IsDir() || strings.ContainsFunc(e.Name(), unprintable):
			case kind == ".slice":
				all = append(all, at)
			case kind == ".service":
				// systemd puts _ before what begins as a file of the kernel does
				// (cg_escape).
				if !visit(strings.TrimPrefix(e.Name(), "_"), at) {
					return nil
				}
			}
		}
	}
	return nil
}

// unprintable is what no unit has in its name, also for bytes that are not UTF-8.
func unprintable(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }

// Changes returns no channel: a tree reports no changes.
func (t *Tree) Changes(context.Context) (<-chan string, error) { return nil, nil }

// OwnName returns [errors.ErrUnsupported].
func (t *Tree) OwnName(context.Context, string) error { return errNoSystemd }

// Emit returns [errors.ErrUnsupported].
func (t *Tree) Emit(path, signal string, values ...any) error { return errNoSystemd }

// RunTransient returns [errors.ErrUnsupported].
func (t *Tree) RunTransient(context.Context, Transient) error { return errNoSystemd }

// Close has nothing to end.
func (t *Tree) Close() {}
