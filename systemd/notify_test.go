package systemd

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestNotify(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	for _, c := range []struct {
		send func() error
		want string // a trailing * stands for a number
	}{
		{Ready, "READY=1"},
		{Watchdog, "WATCHDOG=1"},
		{Stopping, "STOPPING=1"},
		{func() error { return Status("2 targets\nREADY=1") }, "STATUS=2 targets READY=1"},
		{Reloading, "RELOADING=1\nMONOTONIC_USEC=*"},
	} {
		if err := c.send(); err != nil {
			t.Errorf("%s: %v", c.want, err)
			continue
		}
		buf := make([]byte, 1000)
		length, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.TrimSuffix(string(buf[:length]), "\n") // which the protocol allows
		if fixed, number := strings.CutSuffix(c.want, "*"); number {
			_, err := strconv.ParseUint(strings.TrimPrefix(got, fixed), 10, 64)
			if !strings.HasPrefix(got, fixed) || err != nil {
				t.Errorf("got %q, want %q", got, c.want)
			}
		} else if got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}

	conn.Close()
	if err := Ready(); err == nil || !strings.Contains(err.Error(), "READY") {
		t.Errorf("with a dead socket: %v, want an error that names READY", err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Ready(); err != nil {
		t.Errorf("without a service manager: %v, want nil", err)
	}
}

func TestWatchdogInterval(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
		watched   bool
	}{
		{"", "", 0, false},
		{"3000000", "", 3 * time.Second, true},
		{"3000000", strconv.Itoa(os.Getpid()), 3 * time.Second, true},
		{"3000000", "1", 0, false},
		{"soon", "", 0, false},
		{"-1", "", 0, false},
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		if got, watched := WatchdogInterval(); got != c.want || watched != c.watched {
			t.Errorf("WATCHDOG_USEC=%q WATCHDOG_PID=%q: %v, %v; want %v, %v", c.usec, c.pid, got, watched, c.want, c.watched)
		}
	}
}
