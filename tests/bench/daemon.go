package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// buildProgram builds hapressure as it is packaged, and returns its path.
func buildProgram(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "hapressure")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o",
		program, "hapressure/cmd/hapressure")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building hapressure: %w\n%s", err, out)
	}
	return program, nil
}

// guardian is a running `hapressure run --dry-run` that guards one cgroup.
type guardian struct {
	cmd             *exec.Cmd
	group           string // name of the cgroup
	log, recordings string
}

// startDaemon starts hapressure with the environment that its unit gives it. It writes
// its files into dir.
func startDaemon(ctx context.Context, program, dir, group string) (*guardian, error) {
	g := &guardian{group: filepath.Base(group), log: filepath.Join(dir, "log"),
		recordings: filepath.Join(dir, "recordings")}
	policy := filepath.Join(dir, "policy.yaml")
	text := fmt.Sprintf("version: 1\ntargets: [{cgroup: %s}]\n", g.group)
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(g.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	g.cmd = self(ctx, "daemon", filepath.Dir(group), program, "run", "--dry-run", "--policy",
		policy,
		"--recordings", g.recordings, "--control", "")
	g.cmd.Env = append(os.Environ(), "GOMEMLIMIT=64MiB", "GOMAXPROCS=2", "GOGC=50")
	g.cmd.Stdout, g.cmd.Stderr = log, log
	return g, g.cmd.Start()
}

func (g *guardian) pid() int { return g.cmd.Process.Pid }

func (g *guardian) stop() {
	g.cmd.Process.Signal(syscall.SIGTERM)
	g.cmd.Wait()
}

// guarded returns an error if the daemon does not guard the cgroup, or cannot read its
// workers.
func (g *guardian) guarded() error {
	text, err := os.ReadFile(g.log)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), "Guarding /"+g.group) ||
		strings.Contains(string(text), "Cannot read workers") {
		return fmt.Errorf("it did not guard:\n%s", text)
	}
	return nil
}

// ownGroup makes a cgroup and moves HAProxy into it, until HAProxy stops.
func (s *server) ownGroup() (string, error) {
	mount := "/sys/fs/cgroup"
	if _, err := os.Stat(mount + "/cgroup.procs"); err != nil {
		mount += "/unified"
	}
	group, err := os.MkdirTemp(mount, "hapressure-bench-")
	if err != nil {
		return "", err
	}
	s.group = group
	pids, err := s.pids()
	for _, pid := range pids {
		err = errors.Join(err, os.WriteFile(group+"/cgroup.procs", fmt.Append(nil, pid), 0))
	}
	return group, err
}

// daemon becomes hapressure; where cgroup v2 is not mounted where it belongs, it sees
// it there.
func daemon(mount string, command []string) error {
	runtime.LockOSThread() // of all threads, only this one leaves the namespace
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("leaving the mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount(mount, "/sys/fs/cgroup", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", mount, err)
	}
	return syscall.Exec(command[0], command, os.Environ())
}
