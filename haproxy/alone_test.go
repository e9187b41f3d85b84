package haproxy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
	"hapressure/tests/haproxytest"
)

// HAProxy without a master: processes that reloads by -sf start one after another.

// TestReloadsWithoutMaster: three generations, the oldest with a tunnel, are one
// instance, of which the youngest is current. What may be done to a stopping worker
// works, except that there is no CLI.
func TestReloadsWithoutMaster(t *testing.T) {
	for _, release := range haproxytest.Releases() {
		t.Run(release, func(t *testing.T) {
			h := haproxytest.StartAlone(t, haproxytest.Config{Release: release,
				CacheSize: cacheSize})
			s := NewScanner("/proc")
			in := scan(t, s, h, "one current process", hasStates(StateCurrent))
			if in.Master != (ID{}) || in.Workers[0].Generation != 1 {
				t.Errorf("%+v, want no master and generation 1", in)
			}
			tunnel := h.Tunnel()
			h.LaunchInstead()
			scan(t, s, h, "the first is stopping", hasStates(StateStopping, StateCurrent))
			second := h.Tunnel()
			h.LaunchInstead()
			in = scan(t, s, h, "two are stopping", hasStates(StateStopping, StateStopping,
				StateCurrent))
			for i, w := range in.Workers {
				if w.Generation != i+1 {
					t.Errorf("worker %d has generation %d", i, w.Generation)
				}
			}
			p := wantStopping(t, s, in.Workers[0])
			done, err := purge(t.Context(), p, h.Pids())
			if err != nil || done.Before < cacheSize*248 || done.After != pageSize {
				t.Errorf("purge: %+v, %v", done, err)
			}
			if _, err := p.TrimPools(t.Context()); err != nil {
				t.Errorf("trim: %v", err)
			}
			r, err := p.Replaced()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Drain(t.Context(), Pace{}); !errors.Is(err, ErrNoCLI) ||
				!Permanent(err) {
				t.Errorf("drain: %v, want that it has no CLI, for good", err)
			}
			for _, c := range []haproxytest.Tunnel{tunnel, second} {
				if err := haproxytest.Echo(c); err != nil {
					t.Errorf("a tunnel: %v", err)
				}
			}
			if _, err := r.Terminate(t.Context(), time.Minute); err != nil || p.p.Alive() {
				t.Errorf("terminate: %v", err)
			}
			scan(t, s, h, "the others are as before", hasStates(StateStopping, StateCurrent))
			if err := haproxytest.Echo(second); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestGenerationsAreConsecutive: with -D the process that reads the configuration starts
// another one and exits, and a reload can fail. Neither takes a number, even if a Scan
// sees it.
func TestGenerationsAreConsecutive(t *testing.T) {
	for _, release := range haproxytest.Releases() {
		t.Run(release, func(t *testing.T) {
			h := haproxytest.StartAlone(t, haproxytest.Config{Release: release})
			s := NewScanner("/proc")
			scan(t, s, h, "it serves", hasStates(StateCurrent))
			fifo := filepath.Join(h.Dir, "slow.cfg")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			for n, lines := range []string{"", "fails\n", ""} {
				args := []string{"-f", h.Inside("slow.cfg"), "-sf"}
				for _, pid := range h.Pids() {
					args = append(args, strconv.Itoa(pid))
				}
				h.Tunnel()
				launched := make(chan error, 1)
				go func() {
					_, err := h.Launch(args...)
					launched <- err
				}()
				scan(t, s, h, "it is loading", func(in Instance) bool {
					w := in.Workers
					return len(w) > 1 && w[len(w)-1].State == StateUnknown
				})
				if err := os.WriteFile(fifo, []byte(lines), 0); err != nil {
					t.Fatal(err)
				}
				if err := <-launched; (err != nil) != (lines != "") {
					t.Fatalf("reload %d: %v", n, err)
				}
				scan(t, s, h, "its work is over", func(in Instance) bool {
					return in.Workers[len(in.Workers)-1].State == StateCurrent
				})
			}
			in := scan(t, s, h, "three serve", hasStates(StateStopping, StateStopping,
				StateCurrent))
			for i, w := range in.Workers {
				if w.Generation != i+1 {
					t.Errorf("worker %d has generation %d", i+1, w.Generation)
				}
			}
			later := NewScanner("/proc")
			later.Recall(Known{Last: 3})
			in = scan(t, later, h, "three of a Scanner that knows their number",
				func(in Instance) bool { return in.Workers[0].State != StateUnknown })
			if n := in.Workers[0].Generation; n != 4 {
				t.Errorf("after generation 3 comes %d", n)
			}
		})
	}
}

// TestWaysOfReloading: each way by which reloads without a master are done, with the
// listeners handed over by the old process and without.
func TestWaysOfReloading(t *testing.T) {
	for _, release := range haproxytest.Releases() {
		for way, handsOver := range map[string]bool{"-sf": false, "-x -sf": true} {
			t.Run(release+" "+way, func(t *testing.T) {
				h := haproxytest.StartAlone(t, haproxytest.Config{Release: release,
					Stats: "mode 600 level admin expose-fd listeners"})
				s := NewScanner("/proc")
				tunnel := h.Tunnel()
				for n := 1; n <= 2; n++ {
					var args []string
					if handsOver {
						args = []string{"-x", h.Inside("stats.sock")}
					}
					args = append(args, "-sf")
					for _, pid := range h.Pids() {
						args = append(args, strconv.Itoa(pid))
					}
					if _, err := h.Launch(args...); err != nil {
						t.Fatal(err)
					}
					scan(t, s, h, "the one with the tunnel is stopping", hasStates(StateStopping,
						StateCurrent))
				}
				if err := haproxytest.Echo(tunnel); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// wantStopping proves again that a worker is stopping.
func wantStopping(t *testing.T, s *Scanner, w Worker) *Stopping {
	t.Helper()
	p, err := s.Recheck(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestLineageOutlivesItsLinks: C names B, and B named A. When B has ended A is stopping
// all the same, also for a Scanner that has only read what an earlier one knew.
func TestLineageOutlivesItsLinks(t *testing.T) {
	h := haproxytest.StartAlone(t, haproxytest.Config{})
	s := NewScanner("/proc")
	h.Tunnel()
	a := h.Pids()[0]
	b, err := h.Launch("-sf", strconv.Itoa(a))
	if err != nil {
		t.Fatal(err)
	}
	scan(t, s, h, "A is stopping", hasStates(StateStopping, StateCurrent))
	if _, err := h.Launch("-sf", strconv.Itoa(b)); err != nil {
		t.Fatal(err)
	}
	scan(t, s, h, "B has ended", hasStates(StateStopping, StateCurrent))
	again := NewScanner("/proc")
	again.Recall(s.Known())
	scan(t, again, h, "A is stopping for a Scanner that remembers", hasStates(StateStopping,
		StateCurrent))
	found, err := NewScanner("/proc").Scan(t.Context(), h.Pids())
	if err != nil || len(found) != 2 {
		t.Errorf("%+v, %v, want two instances for a Scanner that does not", found, err)
	}
}

// TestPausedProcessIsNotStopping: a process is paused by one that cannot bind its sockets
// and gives up, and serves again.
func TestPausedProcessIsNotStopping(t *testing.T) {
	h := haproxytest.StartAlone(t, haproxytest.Config{})
	s := NewScanner("/proc")
	scan(t, s, h, "it serves", hasStates(StateCurrent))
	pid := h.Pids()[0]
	syscall.Kill(pid, syscall.SIGTTOU)
	in := scan(t, s, h, "it is paused", hasStates(StateUnknown))
	if _, err := s.Recheck(t.Context(), in.Workers[0]); !errors.Is(err, ErrNotStopping) {
		t.Errorf("%v, want %v", err, ErrNotStopping)
	}
	syscall.Kill(pid, syscall.SIGTTIN)
	scan(t, s, h, "it serves again", hasStates(StateCurrent))
}

// TestFailedReloadWithoutMaster: while a new process tries in vain to bind a port, the
// old one is paused. It is never taken for a stopping one, and serves again.
func TestFailedReloadWithoutMaster(t *testing.T) {
	h := haproxytest.StartAlone(t, haproxytest.Config{})
	taken := haproxytest.TakenAddr(t)
	s := NewScanner("/proc")
	scan(t, s, h, "it serves", hasStates(StateCurrent))
	old := h.Pids()[0]
	h.WriteConfig("listen taken\n    bind " + taken + "\n")
	ended := make(chan error)
	go func() {
		_, err := h.Launch("-sf", strconv.Itoa(old))
		ended <- err
	}()
	paused := false
	for end := false; !end; {
		select {
		case err := <-ended:
			if end = true; err == nil {
				t.Error("a process was started although a port of it is taken")
			}
		default:
		}
		found, err := s.Scan(t.Context(), h.Pids())
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range found {
			for _, w := range in.Workers {
				if w.State == StateStopping {
					t.Errorf("%+v", w)
				}
				paused = paused || w.PID == old && w.State == StateUnknown
			}
		}
	}
	if !paused {
		t.Error("it was never paused")
	}
	in := scan(t, s, h, "it serves again", hasStates(StateCurrent))
	if s.workers[in.Workers[0].ID].signalled {
		t.Error("it counts as stopped, although the one that named it never served")
	}
}

// TestSignalNotTakenYet: a process that accepts nothing is not stopping before it has
// taken the signal of the one that replaces it.
func TestSignalNotTakenYet(t *testing.T) {
	h := haproxytest.StartAlone(t, haproxytest.Config{})
	h.Tunnel()
	s := NewScanner("/proc")
	old := scan(t, s, h, "it serves", hasStates(StateCurrent)).Workers[0]
	syscall.Kill(old.PID, syscall.SIGTTOU)
	scan(t, s, h, "it is paused", hasStates(StateUnknown))
	syscall.Kill(old.PID, syscall.SIGSTOP)
	t.Cleanup(func() { syscall.Kill(old.PID, syscall.SIGCONT) })
	young := h.LaunchInstead()
	scan(t, s, h, "the new one serves", func(in Instance) bool {
		return hasStates(StateUnknown, StateCurrent)(in) && in.Workers[0].ReplacedBy == young
	})
	syscall.Kill(old.PID, syscall.SIGCONT)
	scan(t, s, h, "it has taken the signal", hasStates(StateStopping, StateCurrent))
}

// TestStrandedProcessIsCurrent: a process that a younger one has stopped, but that still
// accepts, serves: one that hangs, and one that has taken the signal and is in its grace
// time.
func TestStrandedProcessIsCurrent(t *testing.T) {
	for what, c := range map[string]struct {
		global string
		hold   func(pid int)
	}{
		"hangs": {hold: func(pid int) { syscall.Kill(pid, syscall.SIGSTOP) }},
		"grace": {global: "grace 1h", hold: func(int) {}},
	} {
		t.Run(what, func(t *testing.T) {
			h := haproxytest.StartAlone(t, haproxytest.Config{Global: c.global})
			s := NewScanner("/proc")
			scan(t, s, h, "it serves", hasStates(StateCurrent))
			old := h.Pids()[0]
			c.hold(old)
			t.Cleanup(func() { syscall.Kill(old, syscall.SIGCONT) })
			young := h.LaunchInstead()
			in := scan(t, s, h, "both accept, one is replaced", func(in Instance) bool {
				return len(in.Workers) == 2 && in.Workers[0].ReplacedBy == young &&
					in.Workers[1].State == StateCurrent &&
					s.workers[in.Workers[0].ID].signalled == (what == "grace")
			})
			if in.Workers[0].State != StateCurrent {
				t.Errorf("%+v", in.Workers[0])
			}
			if _, err := s.Recheck(t.Context(), in.Workers[0]); !errors.Is(err, ErrNotStopping) {
				t.Errorf("%v, want %v", err, ErrNotStopping)
			}
		})
	}
}

// TestSignalThatCannotBeSent: root without CAP_KILL, as in a container, cannot signal a
// process that runs as another user. The new process serves as that user, too, but the
// old one never got its signal. So it is not stopping, also while it is paused.
func TestSignalThatCannotBeSent(t *testing.T) {
	const nobody = "user nobody"
	h := haproxytest.StartAlone(t, haproxytest.Config{Global: nobody,
		Parent: []string{"setpriv", "--bounding-set=-kill"}})
	s := NewScanner("/proc")
	scan(t, s, h, "it serves", hasStates(StateCurrent))
	old, young := h.Pids()[0], h.LaunchInstead()
	scan(t, s, h, "both serve", func(in Instance) bool {
		return hasStates(StateCurrent, StateCurrent)(in) && in.Workers[0].ReplacedBy == young
	})
	syscall.Kill(old, syscall.SIGTTOU)
	in := scan(t, s, h, "the old one is paused", func(in Instance) bool {
		return in.Workers[0].State != StateCurrent
	})
	if p, err := s.Recheck(t.Context(), in.Workers[0]); !errors.Is(err, ErrNotStopping) {
		t.Errorf("%+v, %v, want %v", p, err, ErrNotStopping)
	}
}

// TestUserNamespace: HAProxy of a rootless container, whose root is another user of the
// host. Its new process is root, and stops one that had become another user.
func TestUserNamespace(t *testing.T) {
	h := haproxytest.StartAlone(t, haproxytest.Config{Root: 200_000, CacheSize: cacheSize,
		Global: "user nobody"})
	s := NewScanner("/proc")
	scan(t, s, h, "it serves", hasStates(StateCurrent))
	tunnel := h.Tunnel()
	h.SetGlobal("")
	h.LaunchInstead()
	in := scan(t, s, h, "it is stopping", hasStates(StateStopping, StateCurrent))
	p := wantStopping(t, s, in.Workers[0])
	if done, err := purge(t.Context(), p, h.Pids()); err != nil || done.After != pageSize {
		t.Errorf("purge: %+v, %v", done, err)
	}
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Error(err)
	}
}

// TestChildThatRunsHAProxy: while a process has a child that runs HAProxy, such as one
// that it has just forked for an external check, it resembles a master. What is known of
// it is remembered all the same.
func TestChildThatRunsHAProxy(t *testing.T) {
	dir := t.TempDir()
	lives, check := filepath.Join(dir, "lives"), filepath.Join(dir, "check")
	script := fmt.Sprintf("#!/bin/sh\n[ ! -e %s ] || exec %s -f %[1]s\n", lives,
		haproxytest.Lookalike(t, "/usr/bin/tail", "tail"))
	if err := os.WriteFile(check, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	h := haproxytest.StartAlone(t, haproxytest.Config{
		Global: "external-check\n    insecure-fork-wanted",
		Sections: "backend checked\n    option external-check\n    external-check command " +
			check + "\n    server s 127.0.0.1:9 check inter 1s\n"})
	s := NewScanner("/proc")
	before := scan(t, s, h, "it serves", hasStates(StateCurrent)).Workers[0]
	known := s.Known()
	if err := os.WriteFile(lives, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	h.Master = before.PID // Pids lists its children, too
	scan(t, s, h, "it resembles a master", func(in Instance) bool { return in.Master == before.ID })
	if err := os.Remove(lives); err != nil {
		t.Fatal(err)
	}
	h.Master = 0
	scan(t, s, h, "it serves as before", hasStates(StateCurrent))
	if now := s.Known(); !reflect.DeepEqual(now, known) {
		t.Errorf("%+v, want %+v as before", now, known)
	}
}

// TestTwoHAProxiesInOneCgroup are two instances, whichever is reloaded.
func TestTwoHAProxiesInOneCgroup(t *testing.T) {
	a := haproxytest.StartAlone(t, haproxytest.Config{})
	b := haproxytest.StartAlone(t, haproxytest.Config{})
	a.Tunnel()
	a.LaunchInstead()
	s := NewScanner("/proc")
	a.Eventually("there are two instances", func() error {
		found, err := s.Scan(t.Context(), slices.Concat(a.Pids(), b.Pids()))
		if err == nil && !(len(found) == 2 && hasStates(StateStopping, StateCurrent)(found[0]) &&
			hasStates(StateCurrent)(found[1])) {
			err = errors.New("not yet")
		}
		return err
	})
}

// TestNames: a pid after -sf is only a name if it can be meant.
func TestNames(t *testing.T) {
	const o, y = 0, 1 // the older and the younger process
	for what, change := range map[string]func(ids *[2]ID, of *[2]standing){
		"":              func(*[2]ID, *[2]standing) {},
		"root stops it": func(_ *[2]ID, of *[2]standing) { of[y].uid = 0 },
		"not: the pid was in use again": func(ids *[2]ID, _ *[2]standing) {
			ids[o].Start = ids[y].Start
		},
		"not: another pid":               func(_ *[2]ID, of *[2]standing) { of[o].nspid = 8 },
		"not: another pid namespace":     func(_ *[2]ID, of *[2]standing) { of[o].pids = "2" },
		"not: another network namespace": func(_ *[2]ID, of *[2]standing) { of[o].nets = "2" },
		"not: another user namespace":    func(_ *[2]ID, of *[2]standing) { of[y].users = "2" },
		"not: another user":              func(_ *[2]ID, of *[2]standing) { of[y].uid = 105 },
	} {
		ids := [2]ID{{PID: 1007, Start: 100}, {PID: 1009, Start: 200}}
		of := [2]standing{
			{nspid: 7, uid: 104, pids: "pid:[1]", nets: "net:[1]"},
			{arguments: arguments{old: []int{5, 7}}, nspid: 9, uid: 104, pids: "pid:[1]",
				nets: "net:[1]"}}
		change(&ids, &of)
		known := memories{ids[o]: {standing: &of[o]}, ids[y]: {standing: &of[y]}}
		if got, want := known.names(ids[y], ids[o]), !strings.HasPrefix(what, "not"); got != want {
			t.Errorf("%q: %v", what, got)
		}
		if known.names(ids[o], ids[y]) {
			t.Errorf("%q: the older one names the younger", what)
		}
	}
}

// TestCouldSignal: what a process may have been when it started decides, too.
func TestCouldSignal(t *testing.T) {
	const kill, setuid = 1 << unix.CAP_KILL, 1 << unix.CAP_SETUID
	for _, c := range []struct {
		uid, old uint32
		bounding uint64
		want     bool
	}{
		{104, 104, kill | setuid, true},
		{0, 104, kill | setuid, true},
		{104, 104, setuid, false}, // it was root
		{0, 104, setuid, false},
		{0, 0, setuid, true},
		{104, 104, 0, true}, // it never was another user
	} {
		y := standing{uid: c.uid, bounding: c.bounding}
		if got := y.couldSignal(&standing{uid: c.old}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestReusedPIDInAList: a stale list names the pid that a younger HAProxy has by now.
// That one is an instance of its own, and is not stopping, also while it is paused.
func TestReusedPIDInAList(t *testing.T) {
	h := haproxytest.StartAlone(t, haproxytest.Config{})
	s := NewScanner("/proc")
	other := haproxytest.StartAlone(t, haproxytest.Config{})
	pid := other.Pids()[0]
	serving := scan(t, s, h, "it serves", hasStates(StateCurrent)).Workers[0]
	all := append(h.Pids(), pid)
	syscall.Kill(pid, syscall.SIGTTOU)
	h.Eventually("the other one is paused", func() error {
		s.workers[serving.ID].standing.old = []int{pid}
		found, err := s.Scan(t.Context(), all)
		if err != nil || len(found) != 2 {
			return fmt.Errorf("%+v, %v, want two instances", found, err)
		}
		if w := found[1].Workers[0]; w.State != StateUnknown || w.ReplacedBy != 0 {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})
}

// TestPIDOfAnotherNamespace: a HAProxy in a container, with the same cgroup, names a pid
// that is another process on the host. It stops its own predecessor, and not that one.
func TestPIDOfAnotherNamespace(t *testing.T) {
	host := haproxytest.StartAlone(t, haproxytest.Config{})
	contained := haproxytest.StartAlone(t, haproxytest.Config{OwnPIDs: true})
	s := NewScanner("/proc")
	paused := scan(t, s, host, "it serves", hasStates(StateCurrent)).Workers[0]
	contained.Tunnel()
	old, err := proc.ReadStatus("/proc", contained.Pids()[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := contained.Launch("-sf", strconv.Itoa(old.NSPID),
		strconv.Itoa(paused.PID)); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(paused.PID, syscall.SIGTTOU)
	host.Eventually("the contained one has stopped its predecessor", func() error {
		found, err := s.Scan(t.Context(), slices.Concat(host.Pids(), contained.Pids()))
		if err != nil || len(found) != 2 || !hasStates(StateUnknown)(found[0]) ||
			!hasStates(StateStopping, StateCurrent)(found[1]) {
			return fmt.Errorf("%+v, %v", found, err)
		}
		return nil
	})
	if p, err := s.Recheck(t.Context(), paused); !errors.Is(err, ErrNotStopping) {
		t.Errorf("%+v, %v, want %v", p, err, ErrNotStopping)
	}
}

// TestLeftOut: what resembles HAProxy is listed with the reason why it is none.
func TestLeftOut(t *testing.T) {
	named := filepath.Join(t.TempDir(), "haproxy")
	if out, err := exec.Command("cp", "/bin/cat", named).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for why, cmd := range map[string]*exec.Cmd{
		"checks a configuration": exec.Command(haproxytest.Lookalike(t, "/bin/cat", "lb"), "-v"),
		"lacks the section":      exec.Command(named),
	} {
		in, err := cmd.StdinPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Wait() })
		s := NewScanner("/proc")
		haproxytest.Eventually(t, "it is left out", func() error { // not in execve(2)
			found, err := s.Scan(t.Context(), []int{cmd.Process.Pid})
			left := s.LeftOut()
			if err != nil || len(found) != 0 || len(left) != 1 ||
				left[0].PID != cmd.Process.Pid || !strings.Contains(left[0].Why, why) {
				return fmt.Errorf("%+v, %v, %+v, want that it %s", found, err, left, why)
			}
			return nil
		})
	}
}

// TestProgramThatMoves: HAProxy Enterprise is called hapee-lb, and where a link leads to
// the release in use, a master executes another file at a reload. The workers of the
// former file are still its workers.
func TestProgramThatMoves(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real HAProxy: left out under -short")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "lb")
	program := haproxytest.Program(t)
	for _, release := range []string{"hapee-1", "hapee-2"} {
		cp := exec.Command("cp", program, filepath.Join(dir, release))
		if out, err := cp.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := os.Symlink("hapee-1", link); err != nil {
		t.Fatal(err)
	}
	h := haproxytest.Start(t, haproxytest.Config{Path: link, CacheSize: cacheSize})
	s := NewScanner("/proc")
	scan(t, s, h, "it serves", hasStates(StateCurrent))
	tunnel := h.Tunnel()
	h.Reload()
	second := h.Tunnel()
	if err := errors.Join(os.Remove(link), os.Symlink("hapee-2", link)); err != nil {
		t.Fatal(err)
	}
	h.Reload()
	in := scan(t, s, h, "two are stopping", hasStates(StateStopping, StateStopping, StateCurrent))
	if a, b := in.Workers[0].exe, in.Workers[2].exe; a == b {
		t.Fatalf("all run %s", a)
	}
	for _, w := range in.Workers[:2] {
		if done, err := purge(t.Context(), wantStopping(t, s, w), h.Pids()); err != nil ||
			done.After != pageSize {
			t.Errorf("purge: %+v, %v", done, err)
		}
	}
	for _, c := range []haproxytest.Tunnel{tunnel, second} {
		if err := haproxytest.Echo(c); err != nil {
			t.Error(err)
		}
	}
}

// TestListenersOtherThanTCP: a worker that has no TCP listener at all, and whose master
// has no CLI, is current all the same.
func TestListenersOtherThanTCP(t *testing.T) {
	dir := t.TempDir()
	for what, section := range map[string]string{
		"Unix":     "frontend f\n    bind unix@" + dir + "/f\n    default_backend none\n",
		"abstract": "frontend f\n    bind abns@" + dir + "\n    default_backend none\n",
		"log": "log-forward f\n    dgram-bind unix@" + dir + "/log\n" +
			"    log 127.0.0.1:9 local0\n",
	} {
		t.Run(what, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "haproxy.cfg")
			text := "defaults\n    mode tcp\n    timeout connect 1s\n    timeout client 1s\n" +
				"    timeout server 1s\nbackend none\n" + section
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(haproxytest.Program(t), "-W", "-f", config)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
			s := NewScanner("/proc")
			haproxytest.Eventually(t, "the worker is current", func() error {
				pids := []int{cmd.Process.Pid}
				b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pids[0]))
				if err != nil {
					return err
				}
				for _, f := range strings.Fields(string(b)) {
					pid, _ := strconv.Atoi(f)
					pids = append(pids, pid)
				}
				found, err := s.Scan(t.Context(), pids)
				if err != nil || len(found) != 1 || !hasStates(StateCurrent)(found[0]) {
					return fmt.Errorf("%+v, %v", found, err)
				}
				return nil
			})
		})
	}
}
