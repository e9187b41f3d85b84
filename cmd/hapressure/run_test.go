package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
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
