package policyfiles

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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
	write(DropIns[2]+"/20-b.yaml", "usr")
	write(DropIns[2]+"/30-c.yaml", "usr")
	write(DropIns[1]+"/10-a.yaml", "run")
	write(DropIns[2]+"/10-a.yaml", "usr")
	write(DropIns[0]+"/readme", "no")
	expect("built-in=# T", "10-a.yaml=run", "20-b.yaml=usr", "30-c.yaml=usr")
	write(SystemFile, "etc")
	write(DropIns[0]+"/20-b.yaml", "etc")
	if err := os.Symlink(os.DevNull, filepath.Join(root, DropIns[0], "30-c.yaml")); err != nil {
		t.Fatal(err)
	}
	expect("policy.yaml=etc", "10-a.yaml=run", "20-b.yaml=etc")
	if err := os.Symlink("nowhere", filepath.Join(root, DropIns[0], "40-d.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := systemFiles(root); err == nil {
		t.Error("a file that cannot be read was left out")
	}
}

// TestPolicyOthersCanWrite: only root and the user of this process may change a
// policy that comes into force. Any file can be checked.
func TestPolicyOthersCanWrite(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files to others")
	}
	const other = 12345
	link := func(to string) func(string, string) error {
		return func(_, file string) error {
			return errors.Join(os.Rename(file, filepath.Join(filepath.Dir(file), to)),
				os.Symlink(to, file))
		}
	}
	tests := []struct {
		name string
		do   func(dir, file string) error
		ok   bool
	}{
		{"root's", func(string, string) error { return nil }, true},
		{"another's file", func(_, file string) error { return os.Chown(file, other, -1) }, false},
		{"its group's to write", func(_, file string) error { return os.Chmod(file, 0o664) },
			false},
		{"writable for all", func(_, file string) error { return os.Chmod(file, 0o646) },
			false},
		{"writable for all and sticky", func(_, file string) error {
			return os.Chmod(file,
				0o646|fs.ModeSticky)
		}, false},
		{"another's folder", func(dir, _ string) error { return os.Chown(dir, other, -1) }, false},
		{"a folder writable for all", func(dir, _ string) error { return os.Chmod(dir, 0o777) }, false},
		{"a folder writable for all, sticky", func(dir, _ string) error {
			return os.Chmod(dir,
				0o777|fs.ModeSticky)
		}, true},
		{"a link", link("real.yaml"), true},
		{"another's link to root's file", func(dir, file string) error {
			return errors.Join(link("real.yaml")(dir, file), os.Lchown(file, other, -1))
		}, true},
		{"a link to another's file", func(dir, file string) error {
			return errors.Join(link("real.yaml")(dir, file), os.Chown(file, other, -1))
		}, false},
		{"a ConfigMap", func(dir, file string) error {
			return errors.Join(os.Mkdir(dir+"/..1", 0o755), os.Symlink("..1", dir+"/..data"),
				link("..data/policy.yaml")(dir, file), os.Chmod(dir, 0o777))
		}, true},
		{"what another made look like one", func(dir, file string) error {
			return errors.Join(os.Symlink("..1", dir+"/..data"),
				os.Lchown(dir+"/..data", other, -1), os.Chmod(dir, 0o777))
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "etc")
			file := filepath.Join(dir, "policy.yaml")
			if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(file,
				[]byte(policyText("any")), 0o644), tt.do(dir, file)); err != nil {
				t.Fatal(err)
			}
			_, err := (&Follower{names: []string{file}}).load()
			if (err == nil) != tt.ok {
				t.Errorf("in force: %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "chmod go-w "+dir) {
				t.Errorf("%v does not say what to do", err)
			}
			if _, _, err := Load(file); err != nil {
				t.Errorf("by hand: %v", err)
			}
		})
	}
	root := t.TempDir()
	file := filepath.Join(root, DropIns[0], "site.yaml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o666),
		os.Chmod(file, 0o666)); err != nil {
		t.Fatal(err)
	}
	if _, err := systemFiles(root); err == nil {
		t.Error("a drop-in that all users can write is loaded")
	}
}

// A drop-in that is a FIFO cannot make a daemon wait.
func TestDropInThatIsAFIFO(t *testing.T) {
	root := t.TempDir()
	dropIn := filepath.Join(root, DropIns[0], "site.yaml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(dropIn), 0o755),
		syscall.Mkfifo(dropIn, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := systemFiles(root); err == nil || !strings.Contains(err.Error(),
		dropIn+": it is a FIFO") {
		t.Errorf("a drop-in that is a FIFO: %v", err)
	}
}
