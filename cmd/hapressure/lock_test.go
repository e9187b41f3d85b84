package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hapressure/tests/haproxytest"
)

// running is a hapressure in a mount namespace of its own, with an empty /run and cgroup
// v2.
type running struct {
	*exec.Cmd
	lines *bufio.Scanner // of standard error
}

// startDaemon runs a daemon that guards nothing, and waits until it is ready.
func startDaemon(t *testing.T, bin string, args ...string) running {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	c := inCgroups(append([]string{bin, "run", "--policy", idlePolicy(t)}, args...)...)
	d := start(t, c[0], c[1:]...)
	d.sees(t, " started with ")
	return d
}

// idlePolicy writes a policy that guards nothing.
func idlePolicy(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ntargets: [{cgroup: none.slice}]\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func start(t *testing.T, name string, args ...string) running {
	t.Helper()
	cmd := exec.Command(name, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(haproxytest.Deadline, func() { cmd.Process.Kill() })
	t.Cleanup(func() { late.Stop(); cmd.Process.Kill(); cmd.Wait() })
	return running{cmd, bufio.NewScanner(stderr)}
}

// sees reads standard error up to a line with the given text.
func (d running) sees(t *testing.T, text string) {
	t.Helper()
	for d.lines.Scan() {
		if strings.Contains(d.lines.Text(), text) {
			return
		}
	}
	t.Fatalf("standard error ended without %q", text)
}

// mounts is the argument of nsenter for the daemon's mount namespace.
func (d running) mounts() string { return fmt.Sprintf("--mount=/proc/%d/ns/mnt", d.Process.Pid) }

// Two daemons would act on the same workers, whatever their control sockets are.
func TestSecondDaemonIsRefused(t *testing.T) {
	bin := program(t)
	first := startDaemon(t, bin, "--control", "")
	code, out := ends(t, "nsenter", first.mounts(), bin, "run", "--control", "/run/other.sock")
	if code != exitRefused || !strings.Contains(out,
		"already runs on this host with pid "+strconv.Itoa(first.Process.Pid)+", and") ||
		!strings.Contains(out, "systemctl stop hapressure") {
		t.Errorf("exit %d\n%s", code, out)
	}
	// which touches no worker
	dry := start(t, "nsenter", first.mounts(), bin, "run", "--dry-run", "--policy", idlePolicy(t))
	dry.sees(t, " started with ")
}

// The lock goes with its process, also by SIGKILL: a daemon that starts meanwhile waits
// for that.
func TestDaemonWaitsForTheOneBefore(t *testing.T) {
	bin := program(t)
	first := startDaemon(t, bin, "--control", "")
	second := start(t, "nsenter", first.mounts(), bin, "run", "--policy", idlePolicy(t))
	second.sees(t, "waiting 5s for it to exit")
	first.Process.Kill()
	first.Wait()
	second.sees(t, " started with ")
	second.Process.Signal(syscall.SIGTERM)
	for second.lines.Scan() {
	}
	if err := second.Wait(); err != nil {
		t.Error(err)
	}
}

// A dry run holds no lock.
func TestDaemonBesideADryRun(t *testing.T) {
	bin := program(t)
	first := startDaemon(t, bin, "--dry-run")
	start(t, "nsenter", first.mounts(), bin, "run", "--policy", idlePolicy(t)).sees(t,
		" started with ")
}
