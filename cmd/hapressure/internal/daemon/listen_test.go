package daemon

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Only a socket at which no process listens is removed.
func TestControlSocketRemovesNothingElse(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	closed := func(network, name string) {
		t.Helper()
		addr := &net.UnixAddr{Name: at(name), Net: network}
		if network == "unixgram" {
			c, err := net.ListenUnixgram(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return
		}
		l, err := net.ListenUnix(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	closed("unix", "stale")
	closed("unixgram", "datagram") // open, as /dev/log is
	live, err := net.Listen("unix", at("live"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if err := errors.Join(os.WriteFile(at("file"), []byte("precious"), 0o644),
		os.Mkdir(at("folder"), 0o755),
		syscall.Mkfifo(at("fifo"), 0o644), os.Symlink("stale", at("link"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"file": "not a socket", "folder": "not a socket", "fifo": "not a socket",
		"link": "not a socket",
		"live": "another process listens", "datagram": "may use the socket",
	} {
		before, _ := os.Lstat(at(name))
		if l, err := listenUnix(at(name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", name, l, err)
		}
		if after, err := os.Lstat(at(name)); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: %v, %v", name, after, err)
		}
	}
	l, err := listenUnix(at("stale"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
