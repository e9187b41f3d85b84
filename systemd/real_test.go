package systemd

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// needSystemd skips a test on a machine that has not been given to it: the
// tests of this file start units of their own.
func needSystemd(t *testing.T) {
	t.Helper()
	if os.Getenv("HAPRESSURE_REAL") != "1" {
		t.Skip("HAPRESSURE_REAL=1 is not set")
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func startUnit(t *testing.T, unit string) {
	t.Helper()
	run(t, "systemd-run", "--unit="+unit, "--property=Type=exec", "sleep", "infinity")
	t.Cleanup(func() { exec.Command("systemctl", "stop", unit).Run() })
}

// await reads the unit at each of its changes until it is as it should be.
func await(t *testing.T, bus *Bus, changes <-chan string, name string, done func(group string, err error) bool) {
	t.Helper()
	late := time.After(deadline)
	for {
		group, err := bus.ControlGroup(t.Context(), name)
		if done(group, err) {
			return
		}
		for changed := ""; changed != name; {
			select {
			case c, open := <-changes:
				if !open {
					t.Fatal("the bus was lost")
				}
				changed = c
			case <-late:
				t.Fatalf("no change of %s: last %q, %v", name, group, err)
			}
		}
	}
}

// ways are those to a real systemd.
var ways = map[string]func(context.Context) (*Bus, error){"D-Bus": Connect, "private socket": ConnectPrivate}

func TestRealUnitComesAndGoes(t *testing.T) {
	needSystemd(t)
	for way, connect := range ways {
		t.Run(way, func(t *testing.T) { unitComesAndGoes(t, connect) })
	}
}

func unitComesAndGoes(t *testing.T, connect func(context.Context) (*Bus, error)) {
	const name = `hapressure@a\x2db.service`
	bus, err := connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	tree := NewTree("/sys/fs/cgroup")
	changes, err := bus.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if group, err := bus.ControlGroup(t.Context(), name); !errors.Is(err, ErrNoUnit) {
		t.Fatalf("before it was started: %q, %v; want ErrNoUnit", group, err)
	}
	running := func(group string, err error) bool {
		return err == nil && strings.HasPrefix(group, "/system.slice/") && strings.HasSuffix(group, "/"+name)
	}
	for range 2 { // and again, under the same name
		startUnit(t, name)
		await(t, bus, changes, name, running)
		if got, err := bus.Match(t.Context(), "hapressure@*.service"); err != nil || len(got) != 1 || got[0] != name {
			t.Errorf("match: %q, %v; want it alone", got, err)
		}
		want, _ := bus.ControlGroup(t.Context(), name)
		if got, err := tree.ControlGroup(t.Context(), name); err != nil || got != want {
			t.Errorf("in the cgroup tree: %q, %v; want %q", got, err, want)
		}
		if got, err := tree.Match(t.Context(), "hapressure@*.service"); err != nil || len(got) != 1 || got[0] != name {
			t.Errorf("match in the cgroup tree: %q, %v; want it alone", got, err)
		}
		run(t, "systemctl", "stop", name)
		await(t, bus, changes, name, func(group string, err error) bool { return errors.Is(err, ErrNoUnit) || err == nil && group == "" })
	}
	if got, err := bus.Match(t.Context(), "hapressure@*.service"); err != nil || len(got) != 0 {
		t.Errorf("match after the stop: %q, %v; want none", got, err)
	}
}

func TestRealHook(t *testing.T) {
	needSystemd(t)
	for way, connect := range ways {
		t.Run(way, func(t *testing.T) {
			bus, err := connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer bus.Close()
			h := Transient{Unit: "hapressure-hook-purge", Description: "test", Timeout: deadline, Command: []string{"/bin/true"}}
			if err := bus.RunTransient(t.Context(), h); err != nil {
				t.Errorf("a hook that succeeds: %v", err)
			}
			h.Command = []string{"/bin/false"}
			if err := bus.RunTransient(t.Context(), h); err == nil || !strings.Contains(err.Error(), `"failed"`) {
				t.Errorf("a hook that fails: %v", err)
			}
		})
	}
}

func TestRealUnitsOfTheSystem(t *testing.T) {
	needSystemd(t)
	bus := connect(t)
	if u, err := bus.ControlGroup(t.Context(), "dbus.service"); err != nil || u == "" {
		t.Errorf("dbus: %q, %v", u, err)
	}
	if u, err := bus.ControlGroup(t.Context(), "no-such.service"); !errors.Is(err, ErrNoUnit) {
		t.Errorf("no-such: %q, %v; want ErrNoUnit", u, err)
	}
}

// The connection ends with the context that it was made with.
func TestRealBusEndsWithItsContext(t *testing.T) {
	needSystemd(t)
	ctx, cancel := context.WithCancel(t.Context())
	bus, err := Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	changes, err := bus.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for late := time.After(deadline); ; {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
		case <-late:
			t.Fatal("the channel of changes stays open")
		}
	}
}

// As a service this test sends one entry and notifies of its start; as a test it
// starts that service and reads the entry back from journald.
func TestRealService(t *testing.T) {
	needSystemd(t)
	want := Entry{MessageID: anID, Message: "tier purge entered", Priority: 5,
		Fields: map[string]string{"HAPRESSURE_TIER": "purge", "HAPRESSURE_WHY": "two\nlines"}}
	if os.Getenv("HAPRESSURE_SERVICE") == "1" {
		j := NewJournal(Sink{JournaldSocket, os.Stderr, FormatFields}, "hapressure",
			"HAPRESSURE_LEFT_OUT")
		defer closed(t, j)
		if err := errors.Join(j.Send(want), Status("at work"), Ready(), Watchdog()); err != nil {
			t.Fatal(err)
		}
		if interval, watched := WatchdogInterval(); !watched || interval != 30*time.Second {
			t.Fatalf("watchdog: %v, %v", interval, watched)
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Type=notify: systemd-run fails if the service ends without READY=1. It
	// waits for the end, by which journald has the entry.
	run(t, "systemd-run", "--unit=hapressure-service", "--wait", "--property=Type=notify", "--property=WatchdogSec=30",
		"--setenv=HAPRESSURE_REAL=1", "--setenv=HAPRESSURE_SERVICE=1", self, "-test.run=^TestRealService$")
	run(t, "journalctl", "--sync")
	var got map[string]any
	out := run(t, "journalctl", "--boot", "--output=json", "MESSAGE_ID="+anID, "_SYSTEMD_UNIT=hapressure-service.service")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("journalctl said %q: %v", out, err)
	}
	for field, value := range map[string]string{
		"MESSAGE": want.Message, "PRIORITY": "5", "SYSLOG_IDENTIFIER": "hapressure",
		"HAPRESSURE_TIER": "purge", "HAPRESSURE_WHY": "two\nlines",
	} {
		if got[field] != value {
			t.Errorf("%s is %q in the journal, want %q", field, got[field], value)
		}
	}
}
