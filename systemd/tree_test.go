package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// treeOf makes a cgroup tree with the given groups.
func treeOf(t *testing.T, groups ...string) *Tree {
	t.Helper()
	mount := t.TempDir()
	for _, group := range groups {
		if err := os.MkdirAll(filepath.Join(mount, group), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return NewTree(mount)
}

func TestTreeFindsUnits(t *testing.T) {
	tree := treeOf(t,
		"init.scope",
		"system.slice/haproxy.service/payload/system.slice/hidden.service", // of a container's own systemd
		"system.slice/system-haproxy.slice/haproxy@b.service",
		"system.slice/system-haproxy.slice/haproxy@a.service",
		"system.slice/system-haproxy.slice/haproxy@\x1b[2J.service",
		"system.slice/system-haproxy.slice/haproxy@\xff.service",
		"lb.slice/lb-edge.slice/edge.service",
		"system.slice/_cpu.service", // as systemd escapes it
		"user.slice/user-1000.slice/user@1000.service/app.slice/forged.service",
	)
	if err := os.WriteFile(filepath.Join(tree.mount, "system.slice/file.service"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for unit, want := range map[string]string{
		"haproxy.service":   "/system.slice/haproxy.service",
		"haproxy@a.service": "/system.slice/system-haproxy.slice/haproxy@a.service",
		"edge.service":      "/lb.slice/lb-edge.slice/edge.service",
		"cpu.service":       "/system.slice/_cpu.service",
	} {
		if got, err := tree.ControlGroup(t.Context(), unit); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", unit, got, err, want)
		}
	}
	for _, unit := range []string{"hidden.service", "forged.service", "file.service", "haproxy", "init.scope"} {
		if got, err := tree.ControlGroup(t.Context(), unit); !errors.Is(err, ErrNoUnit) {
			t.Errorf("%s: %q, %v; want ErrNoUnit", unit, got, err)
		}
	}
	want := []string{"haproxy@a.service", "haproxy@b.service"}
	if got, err := tree.Match(t.Context(), "haproxy@*.service"); err != nil || !slices.Equal(got, want) {
		t.Errorf("match: %q, %v; want %q", got, err, want)
	}
}

// A tree of more slices than are read ends the search, and what lies near the root is
// found all the same.
func TestTreeIsReadWithinBounds(t *testing.T) {
	groups := []string{"system.slice/haproxy.service"}
	for i := range slicesLimit {
		groups = append(groups, fmt.Sprintf("kubepods.slice/kubepods-%d.slice/kubepods-%d-pod.slice", i, i))
	}
	tree := treeOf(t, append(groups, fmt.Sprintf("kubepods.slice/kubepods-%d.slice/kubepods-%d-pod.slice/far.service", slicesLimit-1, slicesLimit-1))...)
	if got, err := tree.ControlGroup(t.Context(), "haproxy.service"); err != nil || got != "/system.slice/haproxy.service" {
		t.Errorf("near: %q, %v", got, err)
	}
	if got, err := tree.ControlGroup(t.Context(), "far.service"); !errors.Is(err, ErrNoUnit) {
		t.Errorf("far: %q, %v; want ErrNoUnit", got, err)
	}
}

func TestTreeThatIsNotThere(t *testing.T) {
	tree := NewTree(filepath.Join(t.TempDir(), "none"))
	if _, err := tree.ControlGroup(t.Context(), "haproxy.service"); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoUnit) {
		t.Errorf("control group: %v, want not exist", err)
	}
	if _, err := tree.Match(t.Context(), "*"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("match: %v, want not exist", err)
	}
}

func TestTreeHasNoMore(t *testing.T) {
	tree := NewTree(t.TempDir())
	if changes, err := tree.Changes(t.Context()); changes != nil || err != nil {
		t.Errorf("changes: %v, %v", changes, err)
	}
	for what, err := range map[string]error{
		"name": tree.OwnName(t.Context(), "a.name"), "signal": tree.Emit("/a", "a.interface.Member"), "hook": tree.RunTransient(t.Context(), Transient{}),
	} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
