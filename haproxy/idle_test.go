package haproxy

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"hapressure/tests/haproxytest"
)

// A stopping worker may have traffic while a connection is open in both directions, and
// no longer once its client has closed it for writing.
func TestIdleWorker(t *testing.T) {
	conf, front, server := quietBackend(t)
	h := haproxytest.Start(t, conf)
	in := testIdle(t, h, front, server, h.Reload)
	if why, err := in.Workers[1].Idle(t.Context()); err == nil {
		t.Errorf("the current worker: %q, want an error", why)
	}
}

// The same is seen without a question.
func TestIdleProcessWithoutAMaster(t *testing.T) {
	conf, front, server := quietBackend(t)
	h := haproxytest.StartAlone(t, conf)
	testIdle(t, h, front, server, func() { h.LaunchInstead() })
}

// quietBackend returns a configuration with a plain front, its address, and the server
// behind it, which never closes what it accepts.
func quietBackend(t *testing.T) (conf haproxytest.Config, front string, server net.Listener) {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if err := haproxytest.FreeAddrs(&front); err != nil {
		t.Fatal(err)
	}
	conf.Sections = fmt.Sprintf(
		"frontend plain\n    bind %s\n    default_backend quiet\nbackend quiet\n    server s %s\n",
		front, server.Addr())
	return conf, front, server
}

func testIdle(t *testing.T, h *haproxytest.HAProxy, front string, server net.Listener,
	reload func()) Instance {
	t.Helper()
	client, err := net.Dial("tcp", front)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	s := NewScanner("/proc")
	scan(t, s, h, "one current worker", hasStates(StateCurrent))
	reload()
	in := scan(t, s, h, "one stopping worker", hasStates(StateStopping, StateCurrent))
	for _, want := range []string{"", "one side has closed each of its TCP connections (2)"} {
		h.Eventually("the worker is idle: "+want, func() error {
			why, err := in.Workers[0].Idle(t.Context())
			if err != nil || want == "" && why != "" || !strings.Contains(why, want) {
				return fmt.Errorf("%q, %v, want %q", why, err, want)
			}
			return nil
		})
		if err := client.(*net.TCPConn).CloseWrite(); err != nil && want == "" {
			t.Fatal(err)
		}
	}
	return in
}
