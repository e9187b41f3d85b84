package proc

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A user knows the path that a configuration has, not a descriptor of this process.
func TestReopenNamesTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "socket") // open(2) fails on a socket
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := OpenAt("/proc", os.Getpid(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Reopen(f, os.O_RDONLY); err == nil ||
		!strings.HasPrefix(err.Error(), "open "+name+": ") {
		t.Errorf("got %v", err)
	}
}
