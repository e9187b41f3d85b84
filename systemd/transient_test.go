package systemd

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// transient is a unit that the fakeManager was asked to start.
type transient struct {
	name, mode string
	properties map[string]any
}

type transientProperty struct {
	Name  string
	Value dbus.Variant
}

// StartTransientUnit ends a unit with the result that its description names, or never
// where that is "hangs".
func (m *fakeManager) StartTransientUnit(name, mode string, properties []transientProperty, _ []struct {
	Name       string
	Properties []transientProperty
}) (dbus.ObjectPath, *dbus.Error) {
	u := transient{name, mode, map[string]any{}}
	for _, p := range properties {
		u.properties[p.Name] = p.Value.Value()
	}
	m.started <- u
	result := u.properties["Description"].(string)
	if result == "refused" {
		return "", dbus.NewError(service+".UnitExists", []any{"It is there."})
	}
	const job = managerPath + "/job/7"
	if result != "hangs" {
		if err := m.emit(managerPath, service+".Manager.JobRemoved", uint32(7), job, name, result); err != nil {
			return "", dbus.MakeFailedError(err)
		}
	}
	return job, nil
}

func TestRunTransient(t *testing.T) {
	systemd := fakeSystemd(t)
	bus := connect(t)
	h := Transient{Unit: "hapressure-hook-purge", Description: "done", Timeout: 90 * time.Second,
		Command: []string{"/bin/$echo", "$HOME", "a b", "100%"}, Environment: map[string]string{"A": "1 2", "B": "70%"}}
	if err := bus.RunTransient(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	got := <-systemd.started
	want := map[string]any{
		"Type": "oneshot", "Description": "done", "Slice": "system.slice", "CollectMode": "inactive-or-failed",
		"Environment": []string{"A=1 2", "B=70%"}, "TimeoutStartUSec": uint64(90_000_000), "TimeoutStopUSec": uint64(5_000_000),
		"ExecStart": [][]any{{"/bin/$echo", []string{"/bin/$echo", "$$HOME", "a b", "100%"}, false}},
	}
	if !reflect.DeepEqual(got.properties, want) || got.mode != "fail" {
		t.Errorf("%s: %#v, want %#v", got.mode, got.properties, want)
	}
	if err := bus.RunTransient(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if again := <-systemd.started; again.name == got.name || !strings.HasPrefix(got.name, h.Unit+"-") || !strings.HasSuffix(got.name, ".service") {
		t.Errorf("units %s and %s", got.name, again.name)
	}
}

func TestRunHookTellsHowItEnded(t *testing.T) {
	systemd := fakeSystemd(t)
	bus := connect(t)
	h := Transient{Unit: "hook", Command: []string{"/bin/true"}, Timeout: time.Hour}
	for _, result := range []string{"failed", "timeout", "refused"} {
		h.Description = result
		err := bus.RunTransient(t.Context(), h)
		started := <-systemd.started
		reason := result
		if result == "refused" {
			reason = "It is there."
		}
		if err == nil || !strings.Contains(err.Error(), started.name) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", result, err)
		}
	}
}

// A caller that stops does not wait for a command, nor does a command wait for a bus that
// was lost.
func TestRunHookEndsWithItsContextAndItsBus(t *testing.T) {
	systemd := fakeSystemd(t)
	bus := connect(t)
	h := Transient{Unit: "hook", Description: "hangs", Command: []string{"/bin/true"}, Timeout: time.Hour}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-systemd.started; cancel() }()
	if err := bus.RunTransient(ctx, h); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
	go func() { <-systemd.started; bus.raw.Close() }()
	if err := bus.RunTransient(t.Context(), h); !errors.Is(err, dbus.ErrClosed) {
		t.Errorf("after the bus was lost: %v", err)
	}
	systemd.daemon.Process.Kill()
	if err := bus.RunTransient(t.Context(), h); err == nil {
		t.Error("on a bus that was lost: no error")
	}
}

func TestEmit(t *testing.T) {
	systemd := fakeSystemd(t)
	bus, second := connect(t), connect(t)
	if err := bus.OwnName(t.Context(), "org.hapressure1"); err != nil {
		t.Fatal(err)
	}
	if err := second.OwnName(t.Context(), "org.hapressure1"); err == nil {
		t.Error("two have the name")
	}
	// As a receiver who trusts the name alone.
	signals := make(chan *dbus.Signal, 8)
	systemd.conn.Signal(signals)
	if err := systemd.conn.AddMatchSignal(dbus.WithMatchSender("org.hapressure1"), dbus.WithMatchObjectPath("/org/hapressure1"),
		dbus.WithMatchInterface("org.hapressure1.Monitor"), dbus.WithMatchMember("TierChanged")); err != nil {
		t.Fatal(err)
	}
	for _, from := range []struct {
		bus  *Bus
		text string
	}{{second, "of another"}, {bus, "of the owner"}} {
		if err := from.bus.Emit("/org/hapressure1", "org.hapressure1.Monitor.TierChanged", from.text, uint64(80)); err != nil {
			t.Fatal(err)
		}
	}
	for {
		select {
		case s := <-signals:
			if s.Name != "org.hapressure1.Monitor.TierChanged" {
				continue
			}
			if want := []any{"of the owner", uint64(80)}; !reflect.DeepEqual(s.Body, want) {
				t.Errorf("%v, want %v of the connection that owns the name", s.Body, want)
			}
			return
		case <-time.After(deadline):
			t.Fatal("no signal")
		}
	}
}
