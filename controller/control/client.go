package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"hapressure/controller"
	"hapressure/controller/status"
)

// ErrNoDaemon means that no process listens at the socket.
var ErrNoDaemon = errors.New("hapressure is not running")

// Client asks the daemon at a socket.
type Client struct{ http http.Client }

// NewClient makes a client for the socket at path. Nothing is connected yet.
func NewClient(path string) *Client {
	var d net.Dialer
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// patience is how long the daemon has for an answer: it may be stopped in a debugger.
const patience = 15 * time.Second

// Status asks for the state of all targets. After ErrNoDaemon, inspect the host instead.
func (c *Client) Status(ctx context.Context) (s status.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = c.ask(ctx, http.MethodGet, "/v1/status", into(&s))
	return s, err
}

// Purge purges a worker of a target.
func (c *Client) Purge(
	ctx context.Context, target string, pid int, dryRun bool,
) (done status.Purge, err error) {
	q := url.Values{
		"target": {target}, "pid": {strconv.Itoa(pid)}, "dry-run": {strconv.FormatBool(dryRun)},
	}
	err = c.ask(ctx, http.MethodPost, "/v1/purge?"+q.Encode(), into(&done))
	return done, err
}

// roomPatience is how long after its timeout a request for room may be answered. It is a
// variable for tests.
var roomPatience = 5 * time.Second

// MakeRoom waits until reloads of a target fit.
func (c *Client) MakeRoom(
	ctx context.Context, r controller.RoomRequest,
) (room status.Room, err error) {
	q := url.Values{
		"reloads": {strconv.FormatFloat(r.Reloads, 'f', -1, 64)}, "timeout": {r.Timeout.String()},
	}
	if r.Target != "" {
		q.Set("target", r.Target)
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout+roomPatience)
	defer cancel()
	err = c.ask(ctx, http.MethodPost, "/v1/make-room?"+q.Encode(), into(&room))
	return room, err
}

// Metrics returns the metrics in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context) (text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = c.ask(ctx, http.MethodGet, "/metrics", func(r io.Reader) (err error) {
		text, err = io.ReadAll(r)
		return err
	})
	return text, err
}

// Reload makes the daemon reload the policy. The error is its mistakes; then the policy
// in force stays.
func (c *Client) Reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.ask(ctx, http.MethodPost, "/v1/reload", into(&struct{}{}))
}

// maxAnswer bounds an answer, in bytes. A thousand workers are half a MiB.
const maxAnswer = 32 << 20

func (c *Client) ask(ctx context.Context, method, path string, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://hapressure"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (%w)", ErrNoDaemon, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("asking the daemon requires root or membership in the group %s: "+
			"run this with sudo (%w)", Group, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("asking the daemon: it closed the connection, as it does if one user "+
			"has %d already (%w)", maxOfUser, err)
	case err != nil:
		return fmt.Errorf("asking the daemon: %w", err)
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, maxAnswer)
	if resp.StatusCode != http.StatusOK {
		var f failure
		if err := into(&f)(body); err != nil || f.Error == "" {
			f.Error = resp.Status
		}
		return fmt.Errorf("the daemon answered: %s", f.Error)
	}
	if err := read(body); err != nil {
		return fmt.Errorf("reading the daemon's answer: %w", err)
	}
	return nil
}

// into reads JSON.
func into(v any) func(io.Reader) error {
	return func(r io.Reader) error { return json.NewDecoder(r).Decode(v) }
}
