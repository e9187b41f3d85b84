package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Procs returns the process ids in the group and in all below it, in ascending
// order. Source: cgroup.procs.
func (g *Group) Procs() ([]int, error) {
	pids := []int{}
	err := fs.WalkDir(g.root.FS(), ".", func(dir string, entry fs.DirEntry, err error) error {
		if err == nil {
			if !entry.IsDir() {
				return nil
			}
			var found []int
			found, err = g.procsOf(dir)
			pids = append(pids, found...)
		}
		if err != nil && dir != "." && vanished(err) {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing processes of cgroup %s: %w", g.path, g.explain(procsFile, err))
	}
	// A process that moves while the list is read may be in it twice.
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

func (g *Group) procsOf(dir string) ([]int, error) {
	data, err := g.root.ReadFile(path.Join(dir, procsFile))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // a threaded group: its processes are in a parent's list
	}
	if err != nil {
		return nil, err
	}
	pids, err := parseProcs(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("parsing %s of %s: %w", procsFile, dir, err)
	}
	return pids, nil
}

// vanished says that a group below was removed while the tree was walked.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// parseProcs reads one process id a line:
//
//	412
//	415
func parseProcs(r io.Reader) ([]int, error) {
	var pids []int
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		pid, err := strconv.ParseUint(lines.Text(), 10, 31)
		if err != nil {
			return nil, err
		}
		// 0 stands for a process of a foreign pid namespace. It has no number
		// here, and a signal to 0 would go to ourselves.
		if pid != 0 {
			pids = append(pids, int(pid))
		}
	}
	return pids, lines.Err()
}
