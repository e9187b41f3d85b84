package proc

import (
	"errors"
	"net"
	"os/exec"
	"testing"
)

// A connection counts as half-closed from the moment when one side has closed it, and
// connections of other processes do not count.
func TestTCPConnections(t *testing.T) {
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
	defer client.Close()
	defer server.Close()
	// The child has the client's end only.
	file, err := client.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	child := exec.Command("sleep", "1000")
	child.ExtraFiles = append(child.ExtraFiles, file)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { child.Process.Kill(); child.Wait() }()
	p, err := Open("/proc", ID{PID: child.Process.Pid})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want := func(what string, want TCP) {
		t.Helper()
		if n, err := p.TCPConnections(t.Context()); err != nil || n != want {
			t.Errorf("%s: %+v, %v, want %+v", what, n, err, want)
		}
	}
	want("at first", TCP{Open: 1})
	if err := server.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// The end of the stream shows that the FIN has come.
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Fatal("the connection is open")
	}
	want("closed by its peer", TCP{HalfClosed: 1})
}
