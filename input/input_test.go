package input

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(syscall.Mkfifo(at("fifo"), 0o600), os.WriteFile(at("file"), []byte("text"), 0o600),
		os.Symlink("file", at("link")), os.Symlink("fifo", at("fifo-link"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		dir: "it is a directory", at("fifo"): "it is a FIFO", at("fifo-link"): "it is a FIFO", at("socket"): "it is a socket",
		"/dev/zero": "it is a device", at("none"): "no such file or directory", at("file/x"): "not a directory",
	} {
		_, err := ReadFile(name, 100)
		if err == nil || !strings.HasPrefix(err.Error(), "open "+name+": "+want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if _, err := Open(at("none"), 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is no fs.ErrNotExist", err)
	}
	for _, name := range []string{"file", "link"} {
		if text, err := ReadFile(at(name), 4); string(text) != "text" || err != nil {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestFilesAreBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name, 999); !errors.Is(err, ErrTooLarge) || !strings.HasSuffix(err.Error(), "the limit is 999 bytes") {
		t.Errorf("above the limit: %v", err)
	}
	f, err := Open(name, 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile(name, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(f); !errors.Is(err, ErrTooLarge) || len(text) > 1001 {
		t.Errorf("a file that has grown: %d bytes, %v", len(text), err)
	}
	// Files of the kernel have a size of 0 and may have no end.
	if text, err := ReadFile("/proc/self/maps", 100); !errors.Is(err, ErrTooLarge) || len(text) > 101 {
		t.Errorf("a file without a size: %d bytes, %v", len(text), err)
	}
}

func TestStandardInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = was }()
	w.WriteString("text")
	w.Close()
	f, err := OpenOrStdin("-", 4)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := io.ReadAll(f); !bytes.Equal(text, []byte("text")) || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
