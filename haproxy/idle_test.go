package haproxy

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"hapressure/tests/haproxytest"
)

// A stopping worker may have traffic while a connection is open in both directions, and no
// longer once its client has closed it for writing, nor without connections.
func TestIdleWorker(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0") // it never closes what it accepts
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var front string
	if err := haproxytest.FreeAddrs(&front); err != nil {
		t.Fatal(err)
	}
	h := haproxytest.Start(t, haproxytest.Config{Sections: fmt.Sprintf(
		"frontend plain\n    bind %s\n    default_backend quiet\nbackend quiet\n    server s %s\n",
		front, server.Addr())})
	client, cerr := net.Dial("tcp", front)
	if cerr != nil {
		t.Fatal(cerr)
	}
	defer client.Close()
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	h.Reload()
	s := NewScanner("/proc")
	in := scan(t, s, h, "one stopping worker", hasStates(StateStopping, StateCurrent))
	idle := func(want string) {
		t.Helper()
		h.Eventually("the worker is idle: "+want, func() error {
			why, err := in.Workers[0].Idle(t.Context())
			if err != nil || want == "" && why != "" || !strings.Contains(why, want) {
				return fmt.Errorf("%q, %v, want %q", why, err, want)
			}
			return nil
		})
	}
	idle("")
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	idle("one side has closed each of its 2 TCP connections")
	if why, err := in.Workers[1].Idle(t.Context()); err == nil {
		t.Errorf("the current worker: %q, want an error", why)
	}
}
