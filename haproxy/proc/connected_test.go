package proc

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Connections are seen in the tables of the kernel, so that they need not be copied. No
// listener is taken for one.
func TestConnectionsAreNotExamined(t *testing.T) {
	connections, others := map[string]net.Conn{}, map[string]any{}
	for _, at := range []struct{ network, addr string }{
		{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"unix", filepath.Join(t.TempDir(), "s")},
	} {
		l, err := net.Listen(at.network, at.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client, cerr := net.Dial(at.network, l.Addr().String())
		server, serr := l.Accept()
		if err := errors.Join(cerr, serr); err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		defer server.Close()
		others["listener "+at.network] = l
		connections["client "+at.network], connections["server "+at.network] = client, server
	}
	ended := connections["client tcp4"].(*net.TCPConn)
	if err := ended.CloseWrite(); err != nil { // so two more states are among them
		t.Fatal(err)
	}
	for network, addr := range map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"} {
		bound, err := net.ListenPacket(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer bound.Close()
		client, err := net.Dial(network, bound.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		others["bound "+network] = bound
		connections["client "+network] = client
	}
	p, err := Open("/proc", ID{PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	dir, err := os.Open(p.Path("fd"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	all, err := listSockets(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	left := map[uint64]bool{}
	for _, d := range all {
		left[d.inode] = true
	}
	if err := p.removeConnected(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	examined := func(socket any) bool { return left[descriptorOf(t, socket).inode] }
	for name, c := range connections {
		if examined(c) {
			t.Errorf("%s is examined", name)
		}
	}
	for name, l := range others {
		if !examined(l) {
			t.Errorf("%s is not examined", name)
		}
	}
}

// The listener that was found last is examined alone as long as it accepts.
func TestListenerIsFoundAgain(t *testing.T) {
	var listeners []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		listeners = append(listeners, l)
	}
	p, err := Open("/proc", ID{PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	last := Listener{descriptorOf(t, listeners[1]), listeners[1].Addr().String()}
	if accepts, err := p.StillAccepts(t.Context(), last); err != nil || !accepts {
		t.Errorf("accepts: %v, %v", accepts, err)
	}
	listeners[1].Close()
	if accepts, err := p.StillAccepts(t.Context(), last); err != nil || accepts {
		t.Errorf("accepts: %v, %v, after it was closed", accepts, err)
	}
	l, err := p.Accepting(t.Context())
	if err != nil || l.Socket == "" || l == last {
		t.Errorf("found %+v, %v, after it was closed", l, err)
	}
}

// descriptorOf returns the descriptor of a socket of this process.
func descriptorOf(t *testing.T, socket any) descriptor {
	t.Helper()
	conn, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var d descriptor
	err = conn.Control(func(fd uintptr) {
		var st unix.Stat_t
		if err := unix.Fstat(int(fd), &st); err != nil {
			t.Fatal(err)
		}
		d = descriptor{int(fd), st.Ino}
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}
