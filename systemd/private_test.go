package systemd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// privateSystemd is a fakeManager at systemd's own socket. Each client has a connection
// of its own to it, with nothing in between that answers for a bus.
func privateSystemd(t *testing.T) (emit func(at dbus.ObjectPath, signal string, values ...any), closeAll func()) {
	t.Helper()
	defer func(was string) { t.Cleanup(func() { privateSocket = was }) }(privateSocket)
	privateSocket = filepath.Join(t.TempDir(), "private")
	socket, err := net.Listen("unix", privateSocket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	var mu sync.Mutex
	var all []*dbus.Conn
	go func() {
		for {
			client, err := socket.Accept()
			if err != nil {
				return
			}
			conn, err := peerOf(client)
			if err != nil {
				client.Close()
				continue // the client says what failed
			}
			m := &fakeManager{conn: conn, started: make(chan transient, 8)}
			mu.Lock()
			all = append(all, conn)
			// A hook's end is for all connections, as every signal is.
			m.emit = func(at dbus.ObjectPath, signal string, values ...any) error {
				return emitAll(&mu, &all, at, signal, values)
			}
			mu.Unlock()
			m.export(t)
		}
	}()
	return func(at dbus.ObjectPath, signal string, values ...any) {
			t.Helper()
			if err := emitAll(&mu, &all, at, signal, values); err != nil {
				t.Fatal(err)
			}
		}, func() {
			socket.Close()
			mu.Lock()
			defer mu.Unlock()
			for _, c := range all {
				c.Close()
			}
		}
}

func emitAll(mu *sync.Mutex, all *[]*dbus.Conn, at dbus.ObjectPath, signal string, values []any) (err error) {
	mu.Lock()
	defer mu.Unlock()
	for _, c := range *all {
		err = errors.Join(err, c.Emit(at, signal, values...))
	}
	return err
}

// peerOf is the other end of a client's connection. The library can only be a client; so
// it is one of a pipe, and both clients get the answers of a server before they are
// joined.
func peerOf(client net.Conn) (*dbus.Conn, error) {
	near, far := net.Pipe()
	go func() {
		a, b := bufio.NewReader(client), bufio.NewReader(far)
		if authenticate(a, client) != nil || authenticate(b, far) != nil {
			client.Close()
			far.Close()
			return
		}
		go func() { io.Copy(far, a); far.Close() }()
		io.Copy(client, b)
		client.Close()
	}()
	conn, err := dbus.NewConn(near)
	if err != nil {
		return nil, err
	}
	return conn, conn.Auth([]dbus.Auth{dbus.AuthExternal("0")})
}

// authenticate lets a client in (D-Bus specification, Authentication Protocol).
func authenticate(r *bufio.Reader, w io.Writer) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		answer := "ERROR\r\n"
		switch line = strings.TrimLeft(line, "\x00"); {
		case strings.HasPrefix(line, "BEGIN"):
			return nil
		case strings.HasPrefix(line, "AUTH EXTERNAL"):
			answer = "OK 0123456789abcdef0123456789abcdef\r\n"
		case strings.HasPrefix(line, "AUTH"):
			answer = "REJECTED EXTERNAL\r\n"
		}
		if _, err := io.WriteString(w, answer); err != nil {
			return err
		}
	}
}

func connectPrivate(t *testing.T) *Bus {
	t.Helper()
	bus, err := ConnectPrivate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	return bus
}

func TestPrivateSocketFindsUnits(t *testing.T) {
	privateSystemd(t)
	bus := connectPrivate(t)
	if got, err := bus.ControlGroup(t.Context(), "haproxy.service"); err != nil || got != "/system.slice/haproxy.service" {
		t.Errorf("control group: %q, %v", got, err)
	}
	if got, err := bus.ControlGroup(t.Context(), "other.service"); !errors.Is(err, ErrNoUnit) {
		t.Errorf("other: %q, %v; want ErrNoUnit", got, err)
	}
	want := []string{"haproxy@a.service", "haproxy@b.service", "haproxy@c.service"}
	if got, err := bus.Match(t.Context(), "haproxy@*"); err != nil || !slices.Equal(got, want) {
		t.Errorf("match: %q, %v; want %q", got, err, want)
	}
}

// Every signal of systemd comes, unasked, and only those of units count.
func TestPrivateSocketReportsChanges(t *testing.T) {
	emit, closeAll := privateSystemd(t)
	names, err := connectPrivate(t).Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	none, nothing := map[string]dbus.Variant{}, []string{}
	emit(managerPath, service+".Manager.JobRemoved", uint32(1), haproxyPath, "x.service", "done")
	emit(managerPath, propertiesChanged, service+".Manager", none, nothing)
	emit(managerPath+"/job/1", propertiesChanged, service+".Job", none, nothing)
	emit(haproxyPath, propertiesChanged, service+".Service", none, nothing)
	emit(unitNamespace+"/haproxy_40a_2eservice", propertiesChanged, unitInterface, none, nothing)
	if got := receive(t, names); got != "haproxy@a.service" {
		t.Errorf("first change: %q", got)
	}
	closeAll()
	if got := receive(t, names); got != "" {
		t.Errorf("after systemd closed the connection: %q, want a closed channel", got)
	}
}

func TestPrivateSocketRunsHooks(t *testing.T) {
	privateSystemd(t)
	bus := connectPrivate(t)
	h := Transient{Unit: "hapressure-hook-purge", Description: "done", Timeout: time.Minute, Command: []string{"/bin/true"}}
	if err := bus.RunTransient(t.Context(), h); err != nil {
		t.Errorf("a hook that succeeds: %v", err)
	}
	h.Description = "failed"
	if err := bus.RunTransient(t.Context(), h); err == nil || !strings.HasSuffix(err.Error(), `ended with "failed"`) {
		t.Errorf("a hook that fails: %v", err)
	}
}

// Nothing is sent that PID 1 would have to drop.
func TestPrivateSocketHasNoReceivers(t *testing.T) {
	privateSystemd(t)
	bus := connectPrivate(t)
	if err := bus.OwnName(t.Context(), "a.name"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("name: %v", err)
	}
	if err := bus.Emit("/a", "a.interface.Member"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("signal: %v", err)
	}
}

func TestPrivateSocketThatIsNotThere(t *testing.T) {
	defer func(was string) { privateSocket = was }(privateSocket)
	privateSocket = filepath.Join(t.TempDir(), "none")
	if bus, err := ConnectPrivate(t.Context()); !errors.Is(err, os.ErrNotExist) || bus != nil {
		t.Errorf("got %v, %v, want not exist", bus, err)
	}
}

func TestPrivateSocketThatHangs(t *testing.T) {
	defer func(socket string, was time.Duration) { privateSocket, patience = socket, was }(privateSocket, patience)
	privateSocket, patience = filepath.Join(t.TempDir(), "private"), 50*time.Millisecond
	socket, err := net.Listen("unix", privateSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if _, err := ConnectPrivate(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
}
