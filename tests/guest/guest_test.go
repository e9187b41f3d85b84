package guest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bootTimeout is ten times what a boot takes on two busy cores under emulation.
const bootTimeout = 8 * time.Minute

func boot(t *testing.T, spec Spec) (*Result, error) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a machine")
	}
	t.Setenv("TMPDIR", t.TempDir())
	spec.Suite = "trixie"
	if spec.Timeout == 0 {
		spec.Timeout = bootTimeout
	}
	return Boot(t.Context(), spec)
}

func TestGuestIsARealMachine(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho payload ran as $(id -un)\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var live bytes.Buffer
	result, err := boot(t, Spec{
		Files: map[string]string{"bin/tool": tool},
		Live:  &live,
		Run: `
			bin/tool
			echo pid 1 is $(cat /proc/1/comm)
			echo controllers $(cat /sys/fs/cgroup/cgroup.controllers)
			echo host $(head -n 1 /proc/pressure/memory)
			echo slice $(head -n 1 /sys/fs/cgroup/system.slice/memory.pressure)
			echo swap $(($(wc -l </proc/swaps) - 1))
			echo limits $(cat /sys/fs/cgroup/payload.slice/payload.service/memory.max)
			echo haproxy is $(systemctl is-enabled haproxy) and $(systemctl is-active haproxy)
			haproxy -v
			systemctl start haproxy && echo state $(systemctl is-active haproxy)
			echo failed $(systemctl list-units --failed --plain --no-legend)
			logger a line for the journal
			mkdir /out/folder && echo 'brought back' >/out/folder/file
			echo 'to stderr' >/dev/stderr
			sleep infinity &
			seq 1 200000
			exit 7
		`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.ExitStatus != 7 {
		t.Errorf("exit status %d, want 7", result.ExitStatus)
	}
	for _, want := range []string{
		"payload ran as root\n", "pid 1 is systemd\n", " memory ", "host some avg10=", "slice some avg10=",
		"swap 0\n", "limits max\n", "haproxy is disabled and inactive\n", "HAProxy version 3.0",
		"state active\n", "failed\n", "to stderr\n", "\n1\n", "\n123456\n", "\n199999\n200000\n",
	} {
		if !strings.Contains(result.Output, want) {
			t.Errorf("output lacks %q", want)
		}
	}
	if t.Failed() {
		t.Logf("output: %.4000s", result.Output)
	}
	if live.String() != result.Output {
		t.Errorf("%d bytes came live, the output has %d", live.Len(), len(result.Output))
	}
	contains(t, filepath.Join(result.Dir, "folder", "file"), "brought back\n")
	contains(t, filepath.Join(result.Dir, "journal.txt"), "a line for the journal\n")
	contains(t, filepath.Join(result.Dir, "journal.export"), "\nMESSAGE=a line for the journal\n")
	contains(t, result.Console, "reboot: Power down")

	if err := result.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(result.Console); err == nil {
		t.Error("the console's log outlived Remove")
	}
}

func TestPanicIsAnError(t *testing.T) {
	_, err := boot(t, Spec{Run: "echo c >/proc/sysrq-trigger; sleep infinity"})
	if !errors.Is(err, ErrCrashed) || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("error %v, want a crash with the console's end", err)
	}
}

func TestTimeoutIsAnError(t *testing.T) {
	var live bytes.Buffer
	// Less than any boot takes, so that no machine is quick enough to come to Run's end.
	_, err := boot(t, Spec{Run: "sleep infinity", Timeout: 2 * time.Second, Live: &live})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "console") {
		t.Errorf("error %v, want a timeout with the console's end", err)
	}
}

func contains(t *testing.T, path, want string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if !bytes.Contains(content, []byte(want)) {
		t.Errorf("%s lacks %q", path, want)
	}
}
