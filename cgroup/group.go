// Package cgroup reads and watches one cgroup v2 group, and reads the host's memory. The
// kernel documents the files in Documentation/admin-guide/cgroup-v2.rst and
// Documentation/accounting/psi.rst.
//
// A failed reading is an error, never zero. [ErrAbsent], [ErrGone] and [ErrPSIOff] are
// the cases that callers handle.
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
	// ErrAbsent means that the group does not have the file: the controller is not
	// enabled for the group, the kernel is too old, or it is the root group.
	ErrAbsent = errors.New("no such file in this cgroup")

	// ErrGone means that the group was removed. It does not return: a new group under the
	// same path is another group and needs another Open.
	ErrGone = errors.New("cgroup was removed")

	// ErrPSIOff means that the kernel does not measure the group's pressure.
	ErrPSIOff = errors.New("pressure stall information is off " +
		"(boot with psi=1; cgroup.pressure must be 1)")
)

// procsFile is in every group, also in the root. If it is missing from a pinned
// directory, the group is gone.
const procsFile = "cgroup.procs"

// pressureFile is missing or cannot be read if the kernel measures no pressure.
const pressureFile = "memory.pressure"

// A Group is one pinned cgroup: it continues to mean the same group after that was
// removed and another one was created under its path. Its methods may be called
// concurrently.
type Group struct {
	path  string   // as in /proc/PID/cgroup, "/system.slice/haproxy.service"
	root  *os.Root // the group's directory
	mount *os.Root // the mount point: the ancestors are read from here
}

// Open pins the group at a path below the cgroup2 mount point, in the form that
// /proc/PID/cgroup has after "0::". The error is [ErrGone] if the group does not exist,
// also for a path to which the kernel has appended "(deleted)".
func Open(mount, cgroup string) (*Group, error) {
	switch {
	case !strings.HasPrefix(cgroup, "/"):
		return nil, fmt.Errorf("opening cgroup %q: path does not begin with a slash", cgroup)
	case slices.Contains(strings.Split(cgroup, "/"), ".."):
		// The kernel shows a group outside the reader's cgroup namespace like this.
		// path.Clean would make a group inside it of "/../other".
		return nil, fmt.Errorf("opening cgroup %q: it is outside this cgroup namespace", cgroup)
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

// Close closes the group. Later readings fail.
func (g *Group) Close() error {
	return errors.Join(g.root.Close(), g.mount.Close())
}

// Alive returns nil while the group exists, and [ErrGone] after it was removed.
func (g *Group) Alive() error {
	// fstat does not show it: it still succeeds for an open directory that was removed.
	f, err := g.root.Open(procsFile)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("cgroup %s: %w: %w", g.path, ErrGone, err)
	}
	return fmt.Errorf("cgroup %s: %w", g.path, err)
}

// read reads and parses a file of the group itself or of one of its ancestors, whose path
// is at.
func read[T any](g *Group, at, name string, parse func(string) (T, error)) (v T, err error) {
	var data []byte
	if at == g.path {
		data, err = g.root.ReadFile(name)
	} else {
		// An ancestor needs no pin: it exists while the group exists. If the group is
		// gone, explain returns ErrGone.
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

// explain adds the sentinel error to an error about one of the group's files.
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
		// A file that the group does not have and any file of a removed group cause the
		// same error number.
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
