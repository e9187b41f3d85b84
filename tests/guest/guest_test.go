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

// needBoot skips a test that boots a machine of its own, but in make test-all.
func needBoot(t *testing.T) {
	t.Helper()
	if os.Getenv("HAPRESSURE_TESTS") != "all" {
		t.Skip("boots a machine: HAPRESSURE_TESTS=all runs it")
	}
	t.Setenv("TMPDIR", t.TempDir())
}

func TestGuestIsARealMachine(t *testing.T) {
	needBoot(t)
	tool := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho payload ran as $(id -un)\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	var lab Lab
	defer lab.Close()
	var live bytes.Buffer
	result, err := lab.Run(t.Context(), Spec{
		Suite:   "trixie",
		Timeout: bootTimeout,
		Files:   map[string]string{"bin/tool": tool},
		Live:    &live,
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
	prints(t, result, "payload ran as root\n", "pid 1 is systemd\n", " memory ", "host some avg10=",
		"slice some avg10=", "swap 0\n", "limits max\n", "haproxy is disabled and inactive\n",
		"HAProxy version 3.0", "state active\n", "failed\n", "to stderr\n",
		"\n1\n", "\n123456\n", "\n199999\n200000\n")
	if live.String() != result.Output {
		t.Errorf("%d bytes came live, the output has %d", live.Len(), len(result.Output))
	}
	contains(t, filepath.Join(result.Dir, "folder", "file"), "brought back\n")
	contains(t, filepath.Join(result.Dir, "journal.txt"), "a line for the journal\n")
	contains(t, filepath.Join(result.Dir, "journal.export"), "\nMESSAGE=a line for the journal\n")
	if err := result.Remove(); err != nil {
		t.Error(err)
	}

	// The next script finds nothing of this one.
	second, err := lab.Run(t.Context(), Spec{
		Suite:   "trixie",
		Timeout: bootTimeout,
		Run: `
			echo files $(ls -A /payload /out)
			echo haproxy is $(systemctl is-active haproxy)
			echo $(pgrep -c sleep) sleep
			echo $(journalctl -b | grep -c 'a line for the journal') lines
		`,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Remove()
	prints(t, second, "files /out: /payload: .run\n", "haproxy is inactive\n", "0 sleep\n",
		"0 lines\n")
	if second.ExitStatus != 0 {
		t.Errorf("exit status %d of the second script, want 0", second.ExitStatus)
	}
}

func prints(t *testing.T, result *Result, want ...string) {
	t.Helper()
	failed := false
	for _, text := range want {
		if !strings.Contains(result.Output, text) {
			failed = true
			t.Errorf("output lacks %q", text)
		}
	}
	if failed {
		t.Logf("output: %.4000s", result.Output)
	}
}

func TestPanicIsAnError(t *testing.T) {
	needBoot(t)
	_, err := Boot(t.Context(), Spec{
		Suite: "trixie", Timeout: bootTimeout, Run: "echo c >/proc/sysrq-trigger; sleep infinity",
	})
	if !errors.Is(err, ErrCrashed) || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("error %v, want a crash with the console's end", err)
	}
}

func TestTimeoutIsAnError(t *testing.T) {
	needBoot(t)
	_, err := Boot(t.Context(),
		Spec{Suite: "trixie", Timeout: 20 * time.Second, Run: "sleep infinity"})
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
