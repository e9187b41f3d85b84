package haproxytest

import (
	"bufio"
	"context"
	"crypto/tls"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Stream is one HTTP/2 request to the HTTP front on a connection of its own; what is
// written to it is echoed.
type Stream struct {
	io.Reader
	io.Writer
	cancel context.CancelFunc
	timer  *time.Timer
}

// Stream opens an HTTP/2 stream. Close ends its connection, too.
func (h *HAProxy) Stream() (*Stream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	body, w := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+h.HTTPAddr+"/", body)
	if err != nil {
		cancel()
		return nil, err
	}
	tr := &http.Transport{ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	s := &Stream{Writer: w,
		cancel: func() { cancel(); body.CloseWithError(context.Canceled); tr.CloseIdleConnections() }}
	s.timer = time.AfterFunc(Deadline, s.cancel)
	resp, err := tr.RoundTrip(req)
	if err == nil && (resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK) {
		err = fmt.Errorf("answer %s %s", resp.Proto, resp.Status)
	}
	if err != nil {
		s.cancel()
		return nil, fmt.Errorf("opening an HTTP/2 stream: %w", err)
	}
	s.Reader = resp.Body
	return s, nil
}

// SetDeadline makes the stream fail at that time.
func (s *Stream) SetDeadline(at time.Time) error {
	s.timer.Reset(time.Until(at))
	return nil
}

func (s *Stream) Close() error {
	s.timer.Stop()
	s.cancel()
	return nil
}

func httpEchoServer(t testing.TB) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		rc.Flush()
		b := make([]byte, 4096)
		for {
			n, err := r.Body.Read(b)
			w.Write(b[:n])
			rc.Flush()
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv.Listener.Addr().String()
}

//go:embed sessionid.py
var sessionIDClient string

// SessionIDClient resumes TLS 1.2 sessions by their ID, which looks them up in
// HAProxy's cache. Go's own TLS client cannot: it knows tickets only. It is not safe
// for concurrent use.
type SessionIDClient struct {
	in  io.Writer
	out *bufio.Reader
}

// SessionIDClient starts a client of the TCP front, which ends with the test.
func (h *HAProxy) SessionIDClient() *SessionIDClient {
	h.t.Helper()
	host, port, _ := net.SplitHostPort(h.Addr)
	cmd := exec.Command("python3", "-c", sessionIDClient, host, port,
		fmt.Sprint(Deadline.Seconds()))
	in, out := StartChild(h.t, cmd)
	return &SessionIDClient{in, out}
}

// Connect opens a TCP connection and leaves it at that.
func (c *SessionIDClient) Connect() error {
	answer, err := c.do("connect")
	if err == nil && answer != "connected" {
		err = fmt.Errorf("connecting: %s", answer)
	}
	return err
}

// Handshake makes the oldest open connection a TLS one, offering the last session,
// echoes a message, closes it and tells whether HAProxy resumed the session.
func (c *SessionIDClient) Handshake() (resumed bool, err error) {
	answer, err := c.do("handshake")
	if err == nil && answer != "full" && answer != "resumed" {
		err = fmt.Errorf("TLS 1.2 handshake with a session ID: %s", answer)
	}
	return answer == "resumed", err
}

func (c *SessionIDClient) do(command string) (string, error) {
	if _, err := io.WriteString(c.in, command+"\n"); err != nil {
		return "", err
	}
	answer, err := c.out.ReadString('\n')
	return strings.TrimSpace(answer), err
}
