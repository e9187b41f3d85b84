package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestSystemFiles holds which files are the system's policy, and in which order.
func TestSystemFiles(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want ...string) {
		t.Helper()
		files, err := systemFiles(root)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			got = append(got, filepath.Base(f.Name)+"="+string(f.Text[:min(3, len(f.Text))]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	expect("built-in=# T")
	write(dropIns[2]+"/20-b.yaml", "usr")
	write(dropIns[2]+"/30-c.yaml", "usr")
	write(dropIns[1]+"/10-a.yaml", "run")
	write(dropIns[2]+"/10-a.yaml", "usr")
	write(dropIns[0]+"/readme", "no")
	expect("built-in=# T", "10-a.yaml=run", "20-b.yaml=usr", "30-c.yaml=usr")
	write(policyFile, "etc")
	write(dropIns[0]+"/20-b.yaml", "etc")
	if err := os.Symlink(os.DevNull, filepath.Join(root, dropIns[0], "30-c.yaml")); err != nil {
		t.Fatal(err)
	}
	expect("policy.yaml=etc", "10-a.yaml=run", "20-b.yaml=etc")
	if err := os.Symlink("nowhere", filepath.Join(root, dropIns[0], "40-d.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := systemFiles(root); err == nil {
		t.Error("a file that cannot be read was left out")
	}
}
