package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/statustest"
	"hapressure/controller/status"
	"hapressure/tests/haproxytest"
)

// fakeDaemon tells a status at a socket, whose path it returns.
func fakeDaemon(t *testing.T, s status.Status) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
		_ *http.Request) {
		writeJSON(w, s)
	}))
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return path
}

// pty opens a terminal of 80x24: what drives it, and the end for a program.
func pty(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { ours.Close() })
	n, err := unix.IoctlGetUint32(int(ours.Fd()), unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0))
	if err != nil {
		t.Fatal(err)
	}
	theirs, oerr := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if oerr != nil {
		t.Fatal(oerr)
	}
	if err := unix.IoctlSetWinsize(int(theirs.Fd()), unix.TIOCSWINSZ,
		&unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// onTerminal runs the program on a terminal, with doing as soon as it has shown want,
// until it ends. It returns all that was written.
func onTerminal(t *testing.T, cmd *exec.Cmd, want string, doing func(terminal *os.File)) string {
	t.Helper()
	ours, theirs := pty(t)
	cmd.Stdin, cmd.Stdout = theirs, theirs
	if cmd.Stderr == nil {
		cmd.Stderr = theirs
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	late := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer late.Stop()
	var out bytes.Buffer
	for buf := make([]byte, 4096); ; {
		n, err := ours.Read(buf)
		out.Write(buf[:n])
		if doing != nil && strings.Contains(out.String(), want) {
			doing(ours)
			doing = nil
		}
		if err != nil { // EIO: it has ended
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, out.String())
	}
	return out.String()
}

func TestOnTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	bin, socket := program(t), fakeDaemon(t, statustest.Status(statustest.Storm("haproxy.service",
		12)))
	text := render.Status(statustest.Status(statustest.Storm("haproxy.service", 12)),
		render.Screen{Width: 80, Color: true})
	lines := strings.ReplaceAll(text, "\n", "\r\n")

	if out := onTerminal(t, exec.Command(bin, "status", "--socket", socket), "",
		nil); out != lines {
		t.Errorf("status wrote %q", out)
	}
	dumb := exec.Command(bin, "status", "--socket", socket)
	dumb.Env = append(os.Environ(), "TERM=dumb")
	if out := onTerminal(t, dumb, "", nil); strings.Contains(out, "\x1b") {
		t.Errorf("a dumb terminal is sent %q", out)
	}

	top := exec.Command(bin, "top", "--socket", socket)
	top.Env = append(os.Environ(), "TERM=xterm-256color", "NO_COLOR=1", "LC_ALL=C")
	out := onTerminal(t, top, "memory.max", func(terminal *os.File) { terminal.WriteString("q") })
	if !strings.Contains(out, "shorten") || strings.Contains(out, "\x1b[32m") {
		t.Errorf("top without colours wrote %q", out)
	}
	replay := exec.Command(bin, "top", "--replay",
		"internal/playback/testdata/haproxy-2.6.12.rec")
	replay.Env = append(os.Environ(), "TERM=vt100", "LC_ALL=C.UTF-8")
	out = onTerminal(t, replay, "proxy.slice/lb", func(terminal *os.File) {
		terminal.WriteString("eq")
	})
	// A vt100 has no colours: they would become reverse video, which hides the bars.
	if !strings.Contains(out, "14:28:50") || strings.ContainsFunc(out, func(r rune) bool {
		return r > '~'
	}) || strings.Contains(out, "\x1b[7m   ") {
		t.Errorf("top on a vt100 wrote %q", out)
	}
	if code, out := call(t, bin, "top", "--socket", socket); code != exitFailed ||
		!strings.Contains(out, "'hapressure status' needs none") {
		t.Errorf("top without a terminal: exit %d, %s", code, out)
	}
}

// Without a daemon the program inspects the host itself. What it cannot read is no log
// line on a screen that it draws.
func TestNoLogLinesOnScreen(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	bin := program(t)
	const host = mountCgroup2 + ` && mount -t tmpfs none /run && mount -t tmpfs none /etc &&
		mkdir /etc/hapressure &&
		printf 'version: 1\ntargets: [{cgroup: none.slice}]\n' > /etc/hapressure/policy.yaml && exec "$@"`
	for _, tt := range []struct {
		args  []string
		drawn string
		keys  string
	}{
		{[]string{"top"}, "No target", "q"},
	} {
		cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", host, "sh", bin},
			tt.args...)...)
		cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LC_ALL=C")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		onTerminal(t, cmd, tt.drawn, func(terminal *os.File) { terminal.WriteString(tt.keys) })
		if stderr.Len() > 0 {
			t.Errorf("%q writes to standard error: %s", tt.args, stderr.String())
		}
	}
}

func TestStatusCommand(t *testing.T) {
	bin, socket := program(t), fakeDaemon(t, statustest.Status(statustest.Blind()))
	if code, out := call(t, bin, "status", "--socket", socket); code != 0 ||
		out != render.Status(statustest.Status(statustest.Blind()), render.Screen{}) {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, s := callJSON[status.Status](t, bin, "status", "--socket", socket); code != 0 ||
		s.Targets[0].Name != statustest.Blind().Name {
		t.Errorf("as JSON: exit %d, %+v", code, s)
	}
	for _, args := range [][]string{{"--watch"}, {"extra"}} {
		if code, out := call(t, bin, append([]string{"status", "--socket", socket},
			args...)...); code != exitUsage {
			t.Errorf("%q: exit %d\n%s", args, code, out)
		}
	}
	if code, out := call(t, bin, "status", "--socket", "/tmp/\x1b[2J\xff"); code != exitFailed &&
		code != exitRefused || strings.Contains(out, "\x1b") {
		t.Errorf("a socket of an evil name: exit %d, %q", code, out)
	}
}

func TestCompletion(t *testing.T) {
	cmd := &cobra.Command{}
	socket := ""
	socketFlag(cmd, &socket)
	cmd.Flags().Set("socket", fakeDaemon(t, statustest.Status(statustest.Calm(),
		statustest.Storm("other.service", 2))))
	names, _ := ofRunning(targets)(cmd, nil, "")
	pids, _ := ofRunning(workers)(cmd, nil, "")
	if got, _ := ofRunning(units)(cmd, nil, ""); !slices.Equal(got, names) {
		t.Errorf("units are %q, want %q", got, names)
	}
	if got := strings.Join(append(names, pids...),
		";"); got != "haproxy.service;other.service;812\tcurrent, generation 1 of haproxy.service;"+
		"812\tstopping, generation 1 of other.service;849\tcurrent, generation 2 of other.service" {
		t.Errorf("completed with %q", got)
	}
	cmd.Flags().Set("socket", "/nonexistent")
	if names, _ := ofRunning(targets)(cmd, nil, ""); len(names) != 0 {
		t.Errorf("completed with %q without a daemon", names)
	}
}

// Long work shows how far it is, and ends at once at a signal with a message.
func TestProgressAndInterruption(t *testing.T) {
	t.Setenv("TERM", "xterm")
	cmd := exec.Command(program(t), "replay", "-")
	if _, err := cmd.StdinPipe(); err != nil { // it never gets anything
		t.Fatal(err)
	}
	ours, theirs := pty(t)
	cmd.Stderr = theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	late := time.AfterFunc(haproxytest.Deadline, func() { cmd.Process.Kill() })
	defer late.Stop()
	var out strings.Builder
	for buf, sent := make([]byte, 4096), false; ; {
		n, err := ours.Read(buf)
		if out.Write(buf[:n]); err != nil { // EIO: it has ended
			break
		}
		if !sent && strings.Contains(out.String(), "replaying -, 1 of 1 recording (") {
			cmd.Process.Signal(os.Interrupt)
			sent = true
		}
	}
	err := cmd.Wait()
	const want = "\rhapressure: interrupted while replaying -, 1 of 1 recording\r\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("wrote %q", out.String())
	}
	if err == nil || err.Error() != "signal: interrupt" {
		t.Errorf("ended by %v", err)
	}
}
