package controller

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hapressure/haproxy"
	"hapressure/systemd"
	"hapressure/tests/haproxytest"
)

// A target whose processes take as long to examine as they may does not hold up another.
func TestHostileTargetDelaysNoOther(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	w.tree.Group("/crowd", map[string]string{"cgroup.procs": strings.Trim(strings.ReplaceAll(fmt.Sprint(haproxytest.Crowd(t, 400, 19_000)), " ", "\n"), "[]") + "\n"})
	c := w.guard("version: 1\ntargets:\n  - cgroup: /crowd\n  - unit: haproxy.service\n", false)
	w.journal.wait(t, "both targets", 2, kind(TargetFound))
	of := func(name string) snapshot {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.guards[name].published.get()
	}
	ticks, last := 0, of("haproxy.service").at
	haproxytest.Eventually(t, "the first tick of the crowd ends", func() error {
		if at := of("haproxy.service").at; at != last {
			ticks, last = ticks+1, at
		}
		if of("/crowd").policy == nil {
			return errors.New("it has not")
		}
		return nil
	})
	if ticks < 2 {
		t.Errorf("%d ticks of the other target meanwhile", ticks)
	}
	if found := of("/crowd").found; len(found) != 1 || len(found[0].Workers) != 400 {
		t.Errorf("found %d instances", len(found))
	}
}

// A worker that loads does not serve in the place of the last one that has connections:
// it may fail.
func TestLoadingWorkerIsNoSuccessor(t *testing.T) {
	w := newWorld(t, haproxytest.Config{Release: haproxytest.Newest(), Global: "master-worker " +
		"no-exit-on-failure"},
		map[string]string{"memory.current": "100000000\n", "memory.max": "1000000000\n"})
	if w.Before(3, 1) {
		t.Skip("the worker of a reload does not exist while it loads")
	}
	c := w.guard(`version: 1
tiers:
  - name: terminate
    enter: {usage: {above: 95%}}
    leave: {usage: {below: 90%}}
    actions: [terminate-oldest: {grace: 2s, settle: 0s, keep: 0}]
`, false)
	old := w.Children()[0]
	tunnel := w.reload()
	w.Eventually("the old worker is stopping", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if g := c.guards["haproxy.service"]; g != nil {
			for _, in := range g.published.get().found {
				if in.Workers[0].State == haproxy.StateStopping {
					return nil
				}
			}
		}
		return errors.New("it is not yet")
	})
	for _, pid := range w.Children() {
		if pid != old {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	w.Eventually("it is alone", func() error {
		if n := len(w.Children()); n != 1 {
			return fmt.Errorf("%d workers", n)
		}
		return nil
	})
	fifo := filepath.Join(w.Dir, "slow")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	w.WriteConfig("frontend slow\n    bind unix@" + w.Inside("slow.sock") + "\n    mode http\n    " +
		"acl x src -f " + w.Inside("slow") + "\n    default_backend webecho\n")
	w.SignalReload()
	var f *os.File
	w.Eventually("a new worker loads", func() (err error) {
		f, err = os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		return err
	})
	w.listProcs()
	w.tree.Write(group, "memory.current", "990000000\n")
	w.journal.wait(t, "the termination to be called off", 1, func(e systemd.Entry) bool {
		return e.Fields["HAPRESSURE_ACTION"] == "terminate-oldest" && strings.Contains(e.Message, haproxy.ErrNoSuccessor.Error())
	})
	if _, err := f.WriteString("nonsense\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	w.Eventually("the reload has failed", func() error {
		if n := len(w.Children()); n != 1 {
			return fmt.Errorf("%d workers", n)
		}
		return nil
	})
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("the tunnel through the last worker: %v", err)
	}
}
