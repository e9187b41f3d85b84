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

// ErrNoAnswer means that a process listens at the socket and does not answer in time.
var ErrNoAnswer = errors.New("it listens, and has not answered in time")

// Client asks the daemon at a socket.
type Client struct {
	path string // of the socket
	http http.Client
}

// NewClient makes a client for the socket at path. Nothing is connected yet.
func NewClient(path string) *Client {
	var d net.Dialer
	return &Client{path, http.Client{Transport: &http.Transport{
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

// Mode asks for what is in force beside the policy.
func (c *Client) Mode(ctx context.Context) (status.Steering, error) {
	return c.mode(ctx, http.MethodGet)
}

// ReloadMode makes the daemon read the files of the mode and of pauses again, and returns
// what is in force then.
func (c *Client) ReloadMode(ctx context.Context) (status.Steering, error) {
	return c.mode(ctx, http.MethodPost)
}

func (c *Client) mode(ctx context.Context, method string) (s status.Steering, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = c.ask(ctx, method, "/v1/mode", into(&s))
	return s, err
}

// maxAnswer bounds an answer, in bytes. A thousand workers are half a MiB.
const maxAnswer = 32 << 20

func (c *Client) ask(ctx context.Context, method, path string, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://hapressure"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.failure(err)
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

// failure words the error of a request that was not answered. Those of net/http name the
// request, which no user has made.
func (c *Client) failure(err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: no process listens at %s", ErrNoDaemon, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("asking the daemon at %s requires root or membership in the group %s: "+
			"run this with sudo", c.path, Group)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("asking the daemon at %s: it closed the connection, as it does if one "+
			"user has %d already", c.path, maxOfUser)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("asking the daemon at %s: %w; 'systemctl status hapressure' shows its "+
			"state", c.path, ErrNoAnswer)
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("%.100q is too long for the path of a socket: give a shorter one", c.path)
	}
	var of *url.Error
	var dial *net.OpError
	if errors.As(err, &of) {
		err = of.Err
	}
	if errors.As(err, &dial) {
		err = dial.Err
	}
	return fmt.Errorf("asking the daemon at %s: %w", c.path, err)
}

// into reads JSON.
func into(v any) func(io.Reader) error {
	return func(r io.Reader) error { return json.NewDecoder(r).Decode(v) }
}
