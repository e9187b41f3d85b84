package proc

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
)

// The tables of one process show which sockets of all are connected. If that process ends
// or enters another network namespace, no connection is taken for a socket to examine.
func TestListingCopiesNoConnection(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, first, second *holder)
		known  bool // of the second process it is known whether it accepts
	}{
		"all stay":                     {func(*testing.T, *holder, *holder) {}, true},
		"the first ends":               {func(_ *testing.T, a, _ *holder) { a.end() }, true},
		"the first enters a namespace": {func(t *testing.T, a, _ *holder) { a.move(t) }, true},
		"both end": {
			func(_ *testing.T, a, b *holder) { a.end(); b.end() }, false},
		"no one stays": {
			func(t *testing.T, a, b *holder) { a.end(); b.move(t) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("makes a network namespace, which needs root")
			}
			first, second := hold(t), hold(t)
			var l Listing
			for _, h := range []*holder{first, second} {
				if err := l.Add(t.Context(), h.p); err != nil {
					t.Fatal(err)
				}
			}
			tt.change(t, first, second)
			l.RemoveConnected(t.Context())
			ns := l.in[second.p.ID]
			if (ns.err == nil) != tt.known {
				t.Errorf("connections: %v, want them to be known: %v", ns.err, tt.known)
			}
			for _, h := range []*holder{first, second} {
				if ns.err == nil && ns.left[h.connection] {
					t.Errorf("the connection of pid %d is examined", h.p.PID)
				}
			}
			if _, err := l.Accepting(t.Context(), second.p); (err == nil) != tt.known {
				t.Errorf("accepting: %v, want it to be known: %v", err, tt.known)
			}
		})
	}
}

// holder is a process that holds a connection.
type holder struct {
	p          *Process
	connection uint64 // its inode
	stdin      io.WriteCloser
	stdout     io.Reader
	cmd        *exec.Cmd
}

// hold starts a holder that enters a network namespace of its own when it is sent a line.
func hold(t *testing.T) *holder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, cerr := net.Dial("tcp", l.Addr().String())
	server, serr := l.Accept()
	if err := errors.Join(cerr, serr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	file, err := client.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	h := &holder{connection: descriptorOf(t, client).inode, cmd: exec.Command("sh", "-c",
		"read line && exec unshare --net sh -c 'echo there; exec sleep infinity'")}
	h.cmd.ExtraFiles = []*os.File{file}
	if h.stdin, err = h.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if h.stdout, err = h.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.end)
	if h.p, err = Open("/proc", ID{PID: h.cmd.Process.Pid}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.p.Close() })
	return h
}

func (h *holder) end() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

// move has the holder enter another network namespace, and waits until it is there.
func (h *holder) move(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(h.stdin, "go\n")
	if _, rerr := h.stdout.Read(make([]byte, 1)); errors.Join(err, rerr) != nil {
		t.Fatal(err, rerr)
	}
}
