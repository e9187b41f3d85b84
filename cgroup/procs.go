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

// Procs returns the process ids in the group and in all below it, in ascending order. Source: cgroup.procs.
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
			return fs.SkipDir // a group below was removed meanwhile
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
	pids, err := parseProcs(string(data))
	if err != nil {
		return nil, fmt.Errorf("parsing %s of %s: %w", procsFile, dir, err)
	}
	return pids, nil
}

// parseProcs reads one process id a line:
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
		// 0 stands for a process of a foreign pid namespace. It has no number here, and a signal to 0 would go to ourselves.
		if pid != 0 {
			pids = append(pids, int(pid))
		}
	}
	return pids, nil
}
