package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// glance is how often the daemon is looked at; what it does between two such looks that found it asleep is one wake-up.
const glance = 50 * time.Millisecond

// idle measures what the daemon costs while nothing happens: HAProxy idles with some stopping workers, and no tier is near.
func (s settings) idle(ctx context.Context, t *table) error {
	dir, err := os.MkdirTemp("", "hapressure-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "hapressure")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "hapressure/cmd/hapressure")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is packaged
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building hapressure: %w\n%s", err, out)
	}
	srv, err := start(ctx, smallCache)
	if err != nil {
		return err
	}
	defer srv.stop()
	for i := range s.idleWorkers {
		progress("idle, reload %d of %d", i+1, s.idleWorkers)
		w, err := srv.leave(ctx)
		if err != nil {
			return err
		}
		defer w.tunnel.Close()
	}
	group, err := srv.ownGroup()
	if err != nil {
		return err
	}
	defer os.Remove(group)
	defer srv.stop() // before the group can be removed
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte("version: 1\ntargets: [{cgroup: "+filepath.Base(group)+"}]\n"), 0o644); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	daemon := self(ctx, "daemon", filepath.Dir(group), program, "run", "--dry-run", "--policy", policy, "--recordings", filepath.Join(dir, "recordings"),
		"--control", "")
	daemon.Env = append(os.Environ(), "GOMEMLIMIT=64MiB", "GOMAXPROCS=2", "GOGC=50") // as in the unit
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		return err
	}
	defer func() { daemon.Process.Signal(syscall.SIGTERM); daemon.Wait() }()
	progress("idle, %v until it has settled", s.idleFor/4)
	if err := pause(ctx, s.idleFor/4); err != nil {
		return err
	}
	before, err := useOf(daemon.Process.Pid)
	if err != nil {
		return err
	}
	progress("idle, %v", s.idleFor)
	wakes, after := 0, before
	for asleep := true; time.Since(before.at) < s.idleFor; {
		if err := pause(ctx, glance); err != nil {
			return err
		}
		now, err := useOf(daemon.Process.Pid)
		if err != nil {
			return err
		}
		if asleep && now.switches != after.switches {
			wakes++
		}
		asleep, after = now.switches == after.switches, now
	}
	said, err := os.ReadFile(log.Name())
	if err != nil {
		return err
	}
	if !strings.Contains(string(said), "Guarding /"+filepath.Base(group)) || strings.Contains(string(said), "Cannot read workers") {
		return fmt.Errorf("it did not guard:\n%s", said)
	}
	over := after.at.Sub(before.at).Seconds()
	t.add("resident, idle", "%d kB, of which anonymous %d kB, file %d kB", after.field["VmRSS"], after.field["RssAnon"], after.field["RssFile"])
	t.atMost("resident, idle, MiB", float64(after.field["VmRSS"])/1024, 16)
	t.atMost(fmt.Sprintf("CPU, idle beside %d stopping workers, %% of a core", s.idleWorkers), (after.ran-before.ran).Seconds()/over*100, 0.1)
	t.atMost("wake-ups a second, idle", float64(wakes)/over, 1)
	t.add("switches of its threads a second, idle", "%.1f", float64(after.switches-before.switches)/over)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ownGroup makes a cgroup and moves HAProxy into it.
func (s *server) ownGroup() (string, error) {
	mount := "/sys/fs/cgroup"
	if _, err := os.Stat(mount + "/cgroup.procs"); err != nil {
		mount += "/unified"
	}
	group := fmt.Sprintf("%s/hapressure-bench-%d", mount, os.Getpid())
	if err := os.Mkdir(group, 0o755); err != nil {
		return "", err
	}
	pids, err := s.pids()
	for _, pid := range pids {
		err = errors.Join(err, os.WriteFile(group+"/cgroup.procs", fmt.Append(nil, pid), 0))
	}
	return group, err
}

// daemon becomes hapressure; where cgroup v2 is not mounted where it belongs, it sees it there.
func daemon(mount string, command []string) error {
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

// use is what a process has used so far.
type use struct {
	at       time.Time
	field    map[string]uint64 // of /proc/PID/status, those that are numbers; memory in kB
	ran      time.Duration     // on a CPU
	switches uint64            // how often one of its threads has gone to sleep
}

func useOf(pid int) (use, error) {
	u := use{at: time.Now(), field: map[string]uint64{}}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if len(tasks) == 0 {
		return u, errors.Join(fmt.Errorf("process %d has ended", pid), err)
	}
	for _, task := range tasks {
		sched, err := os.ReadFile(task + "/schedstat")
		if err != nil {
			return u, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(sched), &ns); err != nil {
			return u, fmt.Errorf("parsing schedstat %q: %w", sched, err)
		}
		u.ran += time.Duration(ns)
		status, err := os.ReadFile(task + "/status")
		if err != nil {
			return u, err
		}
		for line := range strings.Lines(string(status)) {
			name, value, _ := strings.Cut(line, ":")
			var n uint64
			if _, err := fmt.Sscan(value, &n); err == nil {
				u.field[name] = n
			}
		}
		u.switches += u.field["voluntary_ctxt_switches"]
	}
	return u, nil
}
