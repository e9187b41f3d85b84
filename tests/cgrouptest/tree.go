// Package cgrouptest makes directories that look like a cgroup v2 mount, for
// tests on machines that have none.
package cgrouptest

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// Absent as a file's content leaves the file out.
const Absent = "\x00absent"

// defaults are the files of an idle group without limits, as kernel 6.12 shows
// them to a reader.
var defaults = map[string]string{
	"cgroup.controllers":  "cpu memory pids\n",
	"cgroup.events":       "populated 1\nfrozen 0\n",
	"cgroup.procs":        "",
	"memory.current":      "4096\n",
	"memory.events":       "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
	"memory.high":         "max\n",
	"memory.max":          "max\n",
	"memory.oom.group":    "0\n",
	"memory.pressure":     "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	"memory.stat":         "anon 0\nfile 0\nkernel 4096\nshmem 0\n",
	"memory.swap.current": "0\n",
	"memory.swap.max":     "max\n",
}

// A Tree is a directory that looks like a cgroup v2 mount.
type Tree struct {
	Mount string
	t     testing.TB
}

// New makes a tree with nothing but the root group, in a directory that goes
// away with the test.
func New(t testing.TB) Tree {
	t.Helper()
	tree := Tree{Mount: t.TempDir(), t: t}
	for _, name := range []string{"cgroup.controllers", "cgroup.procs", "memory.pressure",
		"memory.stat"} {
		tree.Write("/", name, defaults[name])
	}
	return tree
}

// Group makes the group at cgroup, such as "/system.slice/haproxy.service", and
// those above it that are not there yet. files replaces contents of the idle
// group that it would be.
func (tree Tree) Group(cgroup string, files map[string]string) {
	tree.t.Helper()
	if parent := path.Dir(cgroup); !tree.exists(parent) {
		tree.Group(parent, nil)
	}
	if err := os.Mkdir(tree.file(cgroup, ""), 0o755); err != nil {
		tree.t.Fatal(err)
	}
	contents := maps.Clone(defaults)
	maps.Copy(contents, files)
	for name, content := range contents {
		if content != Absent {
			tree.Write(cgroup, name, content)
		}
	}
}

// Write gives a file of a group a new content.
func (tree Tree) Write(cgroup, name, content string) {
	tree.t.Helper()
	if err := os.WriteFile(tree.file(cgroup, name), []byte(content), 0o644); err != nil {
		tree.t.Fatal(err)
	}
}

// Remove removes a group and those below it.
func (tree Tree) Remove(cgroup string) {
	tree.t.Helper()
	if err := os.RemoveAll(tree.file(cgroup, "")); err != nil {
		tree.t.Fatal(err)
	}
}

func (tree Tree) exists(cgroup string) bool {
	_, err := os.Stat(tree.file(cgroup, ""))
	return err == nil
}

func (tree Tree) file(cgroup, name string) string {
	return filepath.Join(tree.Mount, strings.TrimPrefix(cgroup, "/"), name)
}
