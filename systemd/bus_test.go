package systemd

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// deadline is for what must happen; only a test that fails waits so long.
const deadline = 30 * time.Second

const haproxyPath = dbus.ObjectPath("/org/freedesktop/systemd1/unit/haproxy_2eservice")

// A fakeManager answers on a bus of its own as systemd would, for two units:
// haproxy.service, and ghost.service, which has no file.
type fakeManager struct {
	conn       *dbus.Conn
	subscribed chan struct{}
	daemon     *exec.Cmd
	started    chan transient
	emit       func(at dbus.ObjectPath, signal string, values ...any) error
}

func (m *fakeManager) GetUnit(name string) (dbus.ObjectPath, *dbus.Error) {
	switch name {
	case "haproxy.service", "lb.service":
		return haproxyPath, nil
	case "ghost.service":
		return unitNamespace + "/ghost_2eservice", nil
	}
	return "", dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"Unit not loaded."})
}

func (m *fakeManager) ListUnitsByPatterns(_, _ []string) ([]unitRow, *dbus.Error) {
	return []unitRow{
		{Name: "haproxy@b.service", Load: "loaded", Path: "/b", JobPath: "/"},
		{Name: "haproxy@c.service", Load: "loaded", Path: "/c", JobPath: "/"},
		{Name: "haproxy@gone.service", Load: "not-found", Path: "/g", JobPath: "/"},
		{Name: "haproxy@a.socket", Load: "loaded", Path: "/s", JobPath: "/"},
		{Name: "haproxy@a.service", Load: "loaded", Path: "/a", JobPath: "/"},
	}, nil
}

type unitRow struct {
	Name, Description, Load, Active, Sub, Followed string
	Path                                           dbus.ObjectPath
	JobID                                          uint32
	JobType                                        string
	JobPath                                        dbus.ObjectPath
}

func (m *fakeManager) Subscribe() *dbus.Error {
	m.subscribed <- struct{}{}
	return nil
}

// A fakeUnit answers for the properties of one unit.
type fakeUnit map[string]any

func (u fakeUnit) Get(_, name string) (dbus.Variant, *dbus.Error) {
	if v, ok := u[name]; ok {
		return dbus.MakeVariant(v), nil
	}
	return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", nil)
}

// fakeSystemd starts a bus with a fakeManager on it, as the system bus.
func fakeSystemd(t *testing.T) *fakeManager {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("no dbus-daemon on this machine")
	}
	daemon := exec.Command(program, "--session", "--nofork", "--print-address", "--address=unix:path="+filepath.Join(t.TempDir(), "bus"))
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { daemon.Process.Kill(); daemon.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", strings.TrimSpace(address))

	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	m := &fakeManager{conn: conn, subscribed: make(chan struct{}, 1), daemon: daemon, started: make(chan transient, 8), emit: conn.Emit}
	m.export(t)
	if reply, err := conn.RequestName(service, 0); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("requesting the name: %v, %v", reply, err)
	}
	return m
}

// export makes the manager and its units answer on the connection.
func (m *fakeManager) export(t *testing.T) {
	t.Helper()
	haproxy := fakeUnit{
		"LoadState": "loaded", "ControlGroup": "/system.slice/haproxy.service",
	}
	const properties = "org.freedesktop.DBus.Properties"
	for _, err := range []error{
		m.conn.Export(m, managerPath, service+".Manager"),
		m.conn.Export(haproxy, haproxyPath, properties),
		m.conn.Export(haproxy, unitNamespace+"/lb_2eservice", properties),
		m.conn.Export(fakeUnit{"LoadState": "not-found"}, unitNamespace+"/ghost_2eservice", properties),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

func connect(t *testing.T) *Bus {
	t.Helper()
	bus, err := Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	return bus
}

func TestControlGroup(t *testing.T) {
	fakeSystemd(t)
	bus := connect(t)
	const want = "/system.slice/haproxy.service"
	for _, name := range []string{"haproxy.service", "lb.service"} {
		if got, err := bus.ControlGroup(t.Context(), name); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"other.service", "ghost.service"} {
		if got, err := bus.ControlGroup(t.Context(), name); !errors.Is(err, ErrNoUnit) {
			t.Errorf("%s: %q, %v; want ErrNoUnit", name, got, err)
		}
	}
	bus.Close()
	if _, err := bus.ControlGroup(t.Context(), "haproxy.service"); err == nil || errors.Is(err, ErrNoUnit) {
		t.Errorf("on a closed bus: %v, want an error that is not ErrNoUnit", err)
	}
}

func TestMatch(t *testing.T) {
	fakeSystemd(t)
	want := []string{"haproxy@a.service", "haproxy@b.service", "haproxy@c.service"}
	if got, err := connect(t).Match(t.Context(), "haproxy@*"); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func (m *fakeManager) change(t *testing.T, at dbus.ObjectPath, iface string) {
	t.Helper()
	err := m.conn.Emit(at, propertiesChanged, iface, map[string]dbus.Variant{}, []string{})
	if err != nil {
		t.Fatal(err)
	}
}

func TestChanges(t *testing.T) {
	systemd := fakeSystemd(t)
	names, err := connect(t).Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	<-systemd.subscribed
	if err := systemd.conn.Emit(managerPath, service+".Manager.JobRemoved", uint32(1), haproxyPath, "x.service", "done"); err != nil {
		t.Fatal(err)
	}
	systemd.change(t, haproxyPath, service+".Service") // not the unit's state
	systemd.change(t, "/org/freedesktop/systemd1/job/1", unitInterface)
	systemd.change(t, unitNamespace+"/haproxy_40a_5cx2db_5fc_2eservice", unitInterface)
	if got := receive(t, names); got != `haproxy@a\x2db_c.service` {
		t.Errorf("first change: %q", got)
	}

	if err := systemd.daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, names); got != "" {
		t.Errorf("after the bus was lost: %q, want a closed channel", got)
	}
}

func TestChangesEndWithTheContext(t *testing.T) {
	fakeSystemd(t)
	ctx, cancel := context.WithCancel(t.Context())
	names, err := connect(t).Changes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if got := receive(t, names); got != "" {
		t.Errorf("after the context ended: %q, want a closed channel", got)
	}
}

// Whatever a unit is called, its name is read back from its path.
func FuzzChangedUnit(f *testing.F) {
	f.Add("haproxy.service")
	f.Add(`haproxy@a\x2db_c.service`)
	f.Add("_")
	f.Add("100%.service")
	f.Fuzz(func(t *testing.T, name string) {
		// The library's escape writes bytes below 16 with one digit; systemd
		// has no such bytes in names.
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < 16 }) {
			t.Skip()
		}
		at := unitNamespace + "/" + dbus.ObjectPath(sd.PathBusEscape(name))
		got, ok := changedUnit(&dbus.Signal{Path: at, Name: propertiesChanged, Body: []any{unitInterface}})
		if !ok || got != name {
			t.Errorf("%q is read as %q, %v from %s", name, got, ok, at)
		}
	})
}

func TestConnectWithoutBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	if _, err := Connect(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
}

func TestBusThatHangs(t *testing.T) {
	systemd := fakeSystemd(t)
	bus := connect(t)
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := systemd.daemon.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	defer func(was time.Duration) { patience = was }(patience)
	patience = 50 * time.Millisecond
	for what, ask := range map[string]func() error{
		"Connect":      func() error { _, err := Connect(t.Context()); return err },
		"ControlGroup": func() error { _, err := bus.ControlGroup(t.Context(), "haproxy.service"); return err },
		"Match":        func() error { _, err := bus.Match(t.Context(), "haproxy@*"); return err },
		"Properties":   func() error { _, err := bus.Properties(t.Context(), "haproxy.service"); return err },
		"Changes":      func() error { _, err := bus.Changes(t.Context()); return err },
		"OwnName":      func() error { return bus.OwnName(t.Context(), "a.name") },
	} {
		if err := ask(); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 50ms") {
			t.Errorf("%s: %v, want deadline exceeded", what, err)
		}
	}
	patience = deadline
	signal(syscall.SIGCONT)
	if group, err := bus.ControlGroup(t.Context(), "haproxy.service"); err != nil {
		t.Errorf("once the bus continues: %q, %v", group, err)
	}
}

func receive(t *testing.T, names <-chan string) string {
	t.Helper()
	select {
	case name := <-names:
		return name
	case <-time.After(deadline):
		t.Fatal("nothing from the channel")
		panic("unreachable")
	}
}
