package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Procs returns the process ids of the group and its descendants, in ascending order.
// Source: cgroup.procs.
func (g *Group) Procs() ([]int, error) {
	pids := []int{}
	err := fs.WalkDir(g.root.FS(), ".", func(dir string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			return nil
		}
		if err == nil {
			var found []int
			found, err = g.procsOf(dir)
			pids = append(pids, found...)
		}
		if dir != "." && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)) {
			return fs.SkipDir // the descendant was removed meanwhile
		}
		return err
	})
	if err != nil {
		err = g.explain(procsFile, err)
		return nil, fmt.Errorf("listing processes of cgroup %s: %w", g.path, err)
	}
	// A process that moves between groups meanwhile may be listed twice.
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

func (g *Group) procsOf(dir string) ([]int, error) {
	data, err := g.root.ReadFile(path.Join(dir, procsFile))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // a threaded group: an ancestor lists its processes
	}
	if err != nil {
		return nil, err
	}
	pids, err := parseProcs(string(data))
	if err != nil {
		return nil, fmt.Errorf("parsing %s of %s: %w", procsFile, dir, err)
	}
	return pids, nil
}

// parseProcs parses a file with one process id in each line:
//
//	412
//	415
func parseProcs(text string) ([]int, error) {
	var pids []int
	for line := range strings.Lines(text) {
		pid, err := strconv.ParseUint(strings.TrimSuffix(line, "\n"), 10, 31)
		if err != nil {
			return nil, err
		}
		// 0 stands for a process outside this pid namespace. It has no id here, and a
		// signal to 0 goes to the sender's own process group.
		if pid != 0 {
			pids = append(pids, int(pid))
		}
	}
	return pids, nil
}
