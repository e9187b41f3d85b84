package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hapressure/tests/haproxytest"
)

// ends runs the program, which must end by itself, and returns its exit code and what it
// printed.
func ends(t *testing.T, bin string, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), haproxytest.Deadline)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, args...).CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%q does not end", args)
	}
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode(), string(out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(out)
}

// No file that the command line or a folder of drop-ins names can make the program wait
// or grow without a bound.
func TestFilesWithoutAnEnd(t *testing.T) {
	bin, dir := program(t), t.TempDir()
	fifo, huge, good := filepath.Join(dir, "fifo"), filepath.Join(dir, "huge"),
		filepath.Join(dir, "good.yaml")
	err := errors.Join(syscall.Mkfifo(fifo, 0o600), os.WriteFile(huge, nil, 0o600),
		os.Truncate(huge, 1<<40),
		os.WriteFile(good, []byte(policyText("good")), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{fifo: "it is a FIFO, not a regular file",
		dir: "it is a directory, not", huge: "the file is too large: the limit is "} {
		for _, args := range [][]string{
			{"policy", "check", file}, {"policy", "show", good, file}, {"policy", "explain", file},
			{"replay", file},
			{"replay", good, "--policy", file}, {"simulate", file, "-o", "/dev/null"},
			{"simulate", good, "-o", "/dev/null", "--policy", file},
			{"record", "-o", "/dev/null", "--policy", file}, {"run", "--dry-run", "--policy", file},
		} {
			if code, out := ends(t, bin, args...); code != exitFailed ||
				!strings.Contains(out, "open "+file+": "+want) {
				t.Errorf("%q: exit %d, want %q\n%s", args, code, want, out)
			}
		}
	}
	// A device, last: to read it would take all memory.
	if code, out := ends(t, bin, "policy", "check", "/dev/zero"); code != exitFailed ||
		!strings.Contains(out, "it is a device, not a regular file") {
		t.Errorf("policy check /dev/zero: exit %d\n%s", code, out)
	}
}

// A program that waits for its input is ended by the first signal.
func TestSignalEndsReading(t *testing.T) {
	bin := program(t)
	for _, args := range [][]string{{"policy", "check", "-"},
		{"simulate", "-", "-o", "/dev/null"}} {
		cmd := exec.Command(bin, args...)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		const pipe = 1 << 16 // bytes that it holds: what is more is written once the program reads
		if _, err := stdin.Write([]byte(strings.Repeat("\n", pipe+1))); err != nil {
			t.Fatalf("%v: %v, %s", args, err, said.String())
		}
		expectEnd(t, cmd, func() { cmd.Process.Signal(syscall.SIGTERM) })
		stdin.Close()
	}
}

// A command that ends in order at the first signal, and cannot, is ended by the second.
func TestSecondSignalEndsABlockedCommand(t *testing.T) {
	r, w, err := os.Pipe() // full, so that the command blocks at its first line
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := w.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = w.Write(make([]byte, 4096))
	}
	bin := program(t)
	fakeJournalctl(t, strings.ReplaceAll(journalLines, "cat", "/bin/cat")+"exec /bin/sleep 1000")
	cmd := exec.Command(bin, "events", "--follow")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for end := time.Now().Add(haproxytest.Deadline); !blockedIn(cmd.Process.Pid,
		"pipe_write"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not block")
		}
	}
	expectEnd(t, cmd, func() { cmd.Process.Signal(syscall.SIGTERM) })
}

// blockedIn reports whether a thread of a process sleeps in a function of the kernel.
func blockedIn(pid int, function string) bool {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
	return slices.ContainsFunc(files, func(name string) bool {
		at, _ := os.ReadFile(name)
		return strings.HasSuffix(string(at), function)
	})
}

// expectEnd waits for the end of a process, and repeats something until then.
func expectEnd(t *testing.T, cmd *exec.Cmd, again func()) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	late := time.After(haproxytest.Deadline)
	for {
		again()
		select {
		case <-ended:
			return
		case <-late:
			cmd.Process.Kill()
			t.Fatalf("%q does not end", cmd.Args)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// policyText is a policy with one tier.
func policyText(tier string) string {
	return fmt.Sprintf("version: 1\ntiers:\n  - {name: %s, enter: always, actions: []}\n", tier)
}
