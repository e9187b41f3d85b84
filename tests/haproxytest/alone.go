package haproxytest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// StartAlone runs HAProxy without a master until the test ends: a process that Launch
// started, and others that the test launches in its place. See Start.
func StartAlone(t testing.TB, conf Config) *HAProxy {
	t.Helper()
	h := prepare(t, conf)
	t.Cleanup(func() {
		for _, pid := range h.Pids() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if _, err := h.Launch(); err != nil {
		t.Fatal(err)
	}
	h.answers()
	return h
}

// Launch starts one more process without a master, such as with -sf, and returns its pid.
// It returns when HAProxy has bound its sockets and has gone into the background.
func (h *HAProxy) Launch(args ...string) (pid int, err error) {
	cmd := h.command(append([]string{"-D", "-f", h.Inside("haproxy.cfg"), "-p",
		h.Inside("pid")}, args...)...)
	out, err := os.Create(filepath.Join(h.Dir, "log")) // not a pipe: the process keeps it open
	if err != nil {
		return 0, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("starting HAProxy with %q: %w\n%s", args, err, h.Log())
	}
	b, err := os.ReadFile(filepath.Join(h.Dir, "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// LaunchInstead launches a process in place of the running ones, and returns its pid.
func (h *HAProxy) LaunchInstead() int {
	h.t.Helper()
	args := []string{"-sf"}
	for _, pid := range h.alone() {
		args = append(args, strconv.Itoa(pid))
	}
	pid, err := h.Launch(args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return pid
}

// alone lists the processes that run with this configuration, also those that are only
// just starting.
func (h *HAProxy) alone() (pids []int) {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil && bytes.Contains(b, []byte("\x00"+h.Inside("haproxy.cfg")+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// TakenAddr returns an address on which another program than HAProxy listens, so that
// HAProxy cannot bind it, until the test ends.
func TakenAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
