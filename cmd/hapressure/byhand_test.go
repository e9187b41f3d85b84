package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/tests/haproxytest"
)

// call runs the program and returns its exit code and what it printed.
func call(t *testing.T, bin string, args ...string) (int, string) {
	t.Helper()
	out, err := exec.Command(bin, args...).Output()
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode(), string(out) + string(e.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(out)
}

// callJSON runs the program with --json and decodes what it printed.
func callJSON[T any](t *testing.T, bin string, args ...string) (int, T) {
	t.Helper()
	code, out := call(t, bin, append(args, "--json")...)
	var v T
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&v); err != nil {
		t.Fatalf("%q: %v in %q", args, err, out)
	}
	return code, v
}

type masters struct{ Masters []status.Master }

type purges struct{ Workers []status.Purge }

func TestWorkersAndPurgeByHand(t *testing.T) {
	const blocks = 50_000
	bin := program(t)
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: blocks, Global: "hard-stop-after 10m"})
	master := []string{"--pid", strconv.Itoa(h.Master)}
	tunnel := h.Tunnel()
	var list masters
	listed := func(states ...string) {
		t.Helper()
		h.Eventually("the workers are "+strings.Join(states, ", "), func() error {
			_, list = callJSON[masters](t, bin, append(master, "workers")...)
			var got []string
			for _, w := range list.Masters[0].Workers {
				got = append(got, w.State)
			}
			if !slices.Equal(got, states) {
				return errors.New(strings.Join(got, ", "))
			}
			return nil
		})
	}
	listed("current")
	if code, out := call(t, bin, append(master, "purge")...); code != 0 ||
		!strings.Contains(out, "there is nothing to purge") {
		t.Errorf("without a stopping worker: exit %d\n%s", code, out)
	}
	h.SignalReload()
	listed("stopping", "current")
	m := list.Masters[0]
	old, cur := m.Workers[0], m.Workers[1]
	if m.HardStopAfter == nil || *m.HardStopAfter != 600 || old.HardStopIn == nil ||
		*old.HardStopIn > 600 || cur.HardStopIn != nil {
		t.Errorf("hard-stop-after %v, in %v and %v", m.HardStopAfter, old.HardStopIn,
			cur.HardStopIn)
	}
	if old.Connections == nil || *old.Connections != 1 || old.Cache == nil ||
		*old.Cache < blocks*248 || *old.Shared < *old.Cache || *old.Private == 0 {
		t.Errorf("old worker: %+v", old)
	}
	if code, out := call(t, bin, append(master, "workers")...); code != 0 ||
		!strings.Contains(out, "says Stopping: 1") {
		t.Errorf("table: exit %d\n%s", code, out)
	}

	code, got := callJSON[purges](t, bin, "purge", "--dry-run", "--pid", strconv.Itoa(old.PID))
	if code != 0 || len(got.Workers) != 1 || got.Workers[0].Result != status.WouldPurge ||
		got.Workers[0].Before != *old.Cache || got.Workers[0].Layout == "" {
		t.Errorf("dry run: exit %d, %+v", code, got)
	}
	if code, out := call(t, bin, "purge", "--dry-run", "--pid", strconv.Itoa(old.PID)); code != 0 ||
		!strings.HasSuffix(out, "\nup to "+render.Size(*old.Cache)+" would be freed\n") {
		t.Errorf("dry run: exit %d\n%s", code, out)
	}
	if code, got = callJSON[purges](t, bin, "purge", "--pid",
		strconv.Itoa(cur.PID)); code != exitRefused || got.Workers[0].Result != status.Refused ||
		!strings.Contains(got.Workers[0].Reason, "accepts connections") {
		t.Errorf("current worker: exit %d, %+v", code, got)
	}
	if code, got = callJSON[purges](t, bin, append(master, "purge")...); code != 0 ||
		len(got.Workers) != 1 || got.Workers[0].Result != status.Purged ||
		got.Workers[0].Before != *old.Cache || got.Workers[0].After > 64<<10 ||
		got.Workers[0].Held == 0 {
		t.Errorf("purge: exit %d, %+v", code, got)
	}
	if code, got = callJSON[purges](t, bin, append(master, "purge")...); code != 0 ||
		got.Workers[0].Before > 64<<10 {
		t.Errorf("second purge: exit %d, %+v", code, got)
	}
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel: %v", err)
	}
}

// Without a cache there is nothing to purge, and nothing wrong. Up to 2.8 it may be in
// private memory, and the reason says so.
func TestPurgeByHandWithoutACache(t *testing.T) {
	bin := program(t)
	for _, conf := range []haproxytest.Config{{}, {CacheSize: 50_000, Threads: 1},
		{Sections: "cache web\n    total-max-size 4\n"}} {
		h := haproxytest.Start(t, conf)
		if conf.CacheSize > 0 && !h.Before(2, 9) {
			continue // its cache is in shared memory
		}
		h.Tunnel()
		h.Reload()
		h.Eventually("there is nothing to purge", func() error {
			code, got := callJSON[purges](t, bin, "purge", "--pid", strconv.Itoa(h.Master))
			if code != 0 || len(got.Workers) != 1 || got.Workers[0].Result != status.NoCache {
				return fmt.Errorf("exit %d, %+v", code, got)
			}
			if reason := got.Workers[0].Reason; strings.Contains(reason,
				"one thread has its cache in private memory") != (conf.Threads == 1) {
				return fmt.Errorf("with %d threads: %s", conf.Threads, reason)
			}
			return nil
		})
	}
}

// Without a master each process is a worker that --pid can name.
func TestWorkersAndPurgeWithoutMaster(t *testing.T) {
	bin := program(t)
	h := haproxytest.StartAlone(t, haproxytest.Config{CacheSize: 50_000})
	tunnel := h.Tunnel()
	old := strconv.Itoa(h.Pids()[0])
	young := strconv.Itoa(h.LaunchInstead())
	h.Eventually("the old one is stopping", func() error {
		code, out := call(t, bin, "workers", "--pid", old)
		if code != 0 || !strings.Contains(out, "\n\nNo master, no hard-stop-after\n") ||
			!strings.Contains(out, " stopping ") {
			return fmt.Errorf("exit %d\n%s", code, out)
		}
		return nil
	})
	if code, out := call(t, bin, "workers"); code != 0 || !strings.Contains(out, young) {
		t.Errorf("exit %d, want worker %s\n%s", code, young, out)
	}
	code, got := callJSON[purges](t, bin, "purge", "--pid", young)
	if code != exitRefused || got.Workers[0].Result != status.Refused {
		t.Errorf("current process: exit %d, %+v", code, got)
	}
	h.Eventually("the old one is purged", func() error {
		if code, got = callJSON[purges](t, bin, "purge", "--pid", old); code != 0 ||
			len(got.Workers) != 1 || got.Workers[0].Result != status.Purged {
			return fmt.Errorf("exit %d, %+v", code, got)
		}
		return nil
	})
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Error(err)
	}
}

func TestPurgeByHandChooses(t *testing.T) {
	bin := program(t)
	if code, out := call(t, bin, "purge", "--pid", strconv.Itoa(os.Getpid())); code != exitFailed ||
		!strings.Contains(out, "'hapressure workers' lists") {
		t.Errorf("a process that is not HAProxy: exit %d\n%s", code, out)
	}
	if code, out := call(t, bin, "purge", "--pid", "1", "--all"); code != exitUsage {
		t.Errorf("two choices: exit %d\n%s", code, out)
	}
	if code, out := call(t, bin, "workers", "--unit", "none-such"); code != exitFailed ||
		!strings.Contains(out, "none-such.service") {
		t.Errorf("no such unit: exit %d\n%s", code, out)
	}
}

// A worker that is being traced may be purged later: the purge has failed, as it does for
// the policy.
func TestPurgeByHandOfATracedWorkerFails(t *testing.T) {
	bin := program(t)
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: 50_000})
	h.Tunnel()
	old := h.Children()[0]
	h.Reload()
	strace := exec.Command("strace", "-f", "-o", "/dev/null", "-p", strconv.Itoa(old))
	if err := strace.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		strace.Process.Signal(os.Interrupt)
		strace.Wait()
	}()
	h.Eventually("strace holds the worker", func() error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", old))
		if err == nil && !strings.Contains(string(status), fmt.Sprintf("TracerPid:\t%d\n",
			strace.Process.Pid)) {
			err = errors.New("it is not traced yet")
		}
		return err
	})
	h.Eventually("the purge fails for the tracer", func() error {
		code, out := call(t, bin, "purge", "--pid", strconv.Itoa(old))
		if code != exitFailed || !strings.Contains(out, haproxy.ErrCannotStop.Error()) {
			return fmt.Errorf("exit %d: %s", code, out)
		}
		return nil
	})
}

// What top does where no daemon runs.
func TestPurgeOneWithoutDaemon(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: 50_000})
	h.Tunnel()
	old := h.Children()[0]
	h.Reload()
	young := slices.DeleteFunc(h.Children(), func(pid int) bool { return pid == old })[0]
	none := control.NewClient("/none")
	for _, tt := range []struct {
		pid    int
		dryRun bool
		want   string
	}{{old, true, status.WouldPurge}, {old, false, status.Purged}, {young, false, status.Refused}} {
		h.Eventually(tt.want, func() error {
			done, err := purgeOne(t.Context(), none, "x", tt.pid, tt.dryRun)
			if err == nil && (done.PID != tt.pid || done.Result != tt.want ||
				tt.want != status.Refused && done.Before < 50_000*248) {
				err = fmt.Errorf("%+v", done)
			}
			return err
		})
	}
	if done, err := purgeOne(t.Context(), none, "x", os.Getpid(), false); err == nil {
		t.Errorf("purge of a process that is no worker: %+v", done)
	}
}
