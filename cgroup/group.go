// Package cgroup reads and watches one cgroup v2 group, and reads the host's memory. What the kernel's files mean is told in its
// Documentation/admin-guide/cgroup-v2.rst and Documentation/accounting/psi.rst.
//
// A reading that could not be had is an error, never zero: [ErrAbsent], [ErrGone] and [ErrPSIOff] tell the cases a caller acts upon.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrAbsent says that the group has no such file: its controller is not enabled there, the kernel is too old for it, or it is the
	// root group.
	ErrAbsent = errors.New("no such file in this cgroup")

	// ErrGone says that the group was removed. It does not come back: a group made anew under the same path is another group and
	// needs another Open.
	ErrGone = errors.New("cgroup was removed")

	// ErrPSIOff says that the kernel keeps no pressure figures for the group.
	ErrPSIOff = errors.New("pressure stall information is off (boot with psi=1; cgroup.pressure must be 1)")
)

// procsFile is in every group, the root included. Where it is missing from a pinned directory, the group itself is gone.
const procsFile = "cgroup.procs"

// A Group is one cgroup, pinned: it goes on meaning the same group when that is removed and another one is made under its path. Its
// methods may be called concurrently.
type Group struct {
	path  string   // as in /proc/PID/cgroup, "/system.slice/haproxy.service"
	root  *os.Root // the group's directory
	mount *os.Root // the mount point: the ancestors are read from here
}

// Open pins the group at path, which is written as /proc/PID/cgroup writes it after "0::", below the cgroup2 mount point. The error is
// [ErrGone] where there is no such group, as with the "(deleted)" that the kernel adds to one.
func Open(mount, cgroup string) (*Group, error) {
	switch {
	case !strings.HasPrefix(cgroup, "/"):
		return nil, fmt.Errorf("opening cgroup %q: path does not begin with a slash", cgroup)
	case slices.Contains(strings.Split(cgroup, "/"), ".."):
		// So is a group outside the reader's cgroup namespace shown. path.Clean would turn "/../other" into a group of ours.
		return nil, fmt.Errorf("opening cgroup %q: it lies outside this cgroup namespace", cgroup)
	}
	mountRoot, err := os.OpenRoot(mount)
	if err != nil {
		return nil, fmt.Errorf("opening cgroup mount: %w", err)
	}
	root, err := mountRoot.OpenRoot(path.Join(".", cgroup))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err != nil {
		mountRoot.Close()
		return nil, fmt.Errorf("opening cgroup %q: %w", cgroup, err)
	}
	g := &Group{path: path.Clean(cgroup), root: root, mount: mountRoot}
	if err := g.Alive(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Close lets go of the group. Readings fail from then on.
func (g *Group) Close() error {
	return errors.Join(g.root.Close(), g.mount.Close())
}

// Alive returns nil while the group exists, and [ErrGone] once it is removed.
func (g *Group) Alive() error {
	// Its own attributes would not do: a removed directory that is still open answers fstat as if nothing had happened.
	f, err := g.root.Open(procsFile)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("cgroup %s: %w: %w", g.path, ErrGone, err)
	}
	return fmt.Errorf("cgroup %s: %w", g.path, err)
}

// read reads and parses a file of the group itself or of one of its ancestors, whose path is at.
func read[T any](g *Group, at, name string, parse func(string) (T, error)) (v T, err error) {
	var data []byte
	if at == g.path {
		data, err = g.root.ReadFile(name)
	} else {
		// An ancestor needs no pin: the kernel does not let it go while the group exists, and if the group is gone, explain says so.
		data, err = g.mount.ReadFile(path.Join(".", at, name))
	}
	if err != nil {
		return v, fmt.Errorf("reading %s of cgroup %s: %w", name, at, g.explain(name, err))
	}
	if v, err = parse(string(data)); err != nil {
		err = fmt.Errorf("parsing %s of cgroup %s: %w", name, at, err)
	}
	return v, err
}

// explain adds to an error about the group's file name what it means.
func (g *Group) explain(name string, err error) error {
	var sentinel error
	switch {
	case errors.Is(err, unix.ENODEV):
		sentinel = ErrGone
	case errors.Is(err, fs.ErrNotExist):
		sentinel = ErrAbsent
		if name == pressureFile {
			sentinel = ErrPSIOff
		}
		// The same error number stands for a file that the group has not and for any file of a group that is no more.
		if gone := g.Alive(); errors.Is(gone, ErrGone) {
			sentinel = ErrGone
		}
	case errors.Is(err, unix.EOPNOTSUPP) && name == pressureFile:
		sentinel = ErrPSIOff
	default:
		return err
	}
	return fmt.Errorf("%w: %w", sentinel, err)
}
