package control

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hapressure/controller"
	"hapressure/policy"
	"hapressure/tests/haproxytest"
)

// A client that takes all connections and sends nothing has them for a few seconds, and
// the length of a request is bounded.
func TestSlowAndLongRequests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go Serve(t.Context(), l, Handler(controller.New(controller.Config{Policy: &policy.Policy{}}), Reload{}, nil))
	dial := func(request string) net.Conn {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(haproxytest.Deadline))
		io.WriteString(c, request)
		return c
	}
	var slow []net.Conn
	for range maxOfUser {
		slow = append(slow, dial("GET /v1/sta"))
	}
	if _, err := NewClient(path).Status(t.Context()); err == nil {
		t.Errorf("beside %d slow clients of the same user there is room for one more", len(slow))
	}
	for _, c := range slow {
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("a slow client is not sent away: %v", err)
		}
	}
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Errorf("after the slow ones: %v", err)
	}
	c := dial("GET /v1/status?" + strings.Repeat("x", 2*maxHeader) + " HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a long request: %+v, %v", resp, err)
	}
}
