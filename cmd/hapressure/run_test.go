package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// When journald crashes, standard error is a broken pipe: that is no reason to end.
func TestRunOutlivesItsStandardError(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ntargets: [{cgroup: none.slice}]\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	// This machine's cgroups may not be v2.
	cmd := exec.Command("unshare", "--mount", "sh", "-c",
		mountCgroup2+` && exec "$@"`, "sh",
		program(t), "run", "--dry-run", "--policy", file)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !bufio.NewScanner(stderr).Scan() {
		t.Fatal("it says nothing")
	}
	stderr.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil { // of which it tells
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v, want success", err)
	}
}

// On a terminal the daemon prints messages, without the fields of the journal.
func TestRunOnTerminal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("version: 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ours, theirs := pty(t)
	cmd := exec.Command(program(t), "run", "--dry-run", "--policy", file)
	cmd.Stderr = theirs
	if err := cmd.Run(); err == nil {
		t.Fatal("a policy with mistakes is in force")
	}
	theirs.Close()
	out, _ := io.ReadAll(ours) // EIO, because no process has the terminal open
	text, want := string(out), " error: the policy has mistakes:\r\n  "+file
	if !strings.Contains(text, want) ||
		strings.Contains(text, "HAPRESSURE_") || strings.Count(text, file) != 1 {
		t.Errorf("wrote %q", text)
	}
}
