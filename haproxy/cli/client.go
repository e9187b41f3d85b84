// Package cli asks HAProxy workers questions over their command line interface
// (management guide, 9.3), at a cost that is bounded for them and for their master.
//
// A question costs a worker one connection of its CLI until it has answered, and costs
// the master nothing: the connection is made over the worker's own socket pair
// (sockpair.go), never through the master's CLI. The master's CLI has 10 slots, which
// belong to operators and agents, and it carries the messages of workers that have just
// started (src/cli.c, maxconn).
//
// A worker that does not answer is asked again after 5 s, and after twice as long each
// further time. No worker is asked while it has not taken an earlier connection off its
// socket pair, whichever process sent that.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"hapressure/haproxy/proc"
)

// errTooLong means that an answer was longer than its bound. Its beginning is returned
// with it.
var errTooLong = errors.New("answer too long")

// Bounds of answers, in bytes. A worker parses the internet, so its answers are not
// trusted.
const (
	maxShort = 256 << 10 // show info
	maxSess  = 4 << 20   // show sess: some 15,000 sessions; a drain asks again for the rest
)

// Bounds of questions, in time.
const (
	answerTime = 2 * time.Second // of one question and its answer
	retryLeast = 5 * time.Second // after the first question without an answer
	retryMost  = 10 * time.Minute
	infoFresh  = 5 * time.Second // age up to which an answer to show info serves again
)

// A Client asks one worker. It may be used by several goroutines.
type Client struct {
	pair
	Timeout time.Duration // of one question and its answer; answerTime

	mu    sync.Mutex
	retry time.Duration // from the last unanswered question to the next; 0 = all were answered
	next  time.Time     // no question before this
	info  Info          // as last answered
	asked time.Time     // time of that answer
}

// New makes the Client of a worker. masterStatus is of its master, and masterReads bounds
// the reads of the master's memory. It fails if questions to the worker could reach
// another worker.
func New(procfs string, worker, master proc.ID, masterStatus proc.Status,
	masterReads proc.Turnstile) (*Client, error) {
	own, err := proc.ReadStatus(procfs, worker.PID)
	if err != nil {
		return nil, err
	}
	if own.Depth != masterStatus.Depth {
		return nil, errors.New("it is in a pid namespace of its own: " +
			"what its pid is there may be another worker's here")
	}
	return &Client{pair: pair{procfs: procfs, worker: worker, nspid: own.NSPID, master: master,
		uid: masterStatus.UID, masterReads: masterReads}, Timeout: answerTime}, nil
}

// PID returns the worker's pid as its master knows it.
func (c *Client) PID() int { return c.nspid }

// Info returns the worker's answer to `show info`, at most 5 s old. ErrNoCLI: the worker
// cannot be reached. errSilent: it is not asked now. If ctx has ended the worker is not
// asked, and the error is the cause.
func (c *Client) Info(ctx context.Context) (Info, error) {
	c.mu.Lock()
	info, fresh := c.info, time.Since(c.asked) < infoFresh
	c.mu.Unlock()
	if fresh {
		return info, nil
	}
	answer, err := c.ask(ctx, "show info", maxShort)
	if err != nil {
		return Info{}, err
	}
	info, err = parseInfo(answer)
	if err == nil && info.PID != c.nspid {
		err = fmt.Errorf("show info answers for pid %d", info.PID)
	}
	if err != nil {
		return Info{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.info, c.asked = info, time.Now()
	return info, nil
}

// Sessions returns the ids of the worker's sessions, those that were idle longest first.
// It returns a part if there are very many. Errors are those of Info.
func (c *Client) Sessions(ctx context.Context) ([]string, error) {
	answer, err := c.ask(ctx, "show sess", maxSess)
	if errors.Is(err, errTooLong) {
		answer, err = answer[:strings.LastIndexByte(answer, '\n')+1], nil
	}
	if err != nil {
		return nil, err
	}
	return parseSessions(answer)
}

// Shutdown shuts down a session. A session that has ended is no error. Other errors are
// those of Info, and ErrNoCLI if the CLI does not have the admin level.
func (c *Client) Shutdown(ctx context.Context, session string) error {
	answer, err := c.ask(ctx, "shutdown session "+session, maxShort)
	if err != nil {
		return err
	}
	return shutdownError(answer)
}

// shutdownError is the meaning of an answer to `shutdown session`: an empty one is good.
func shutdownError(answer string) error {
	answer = strings.TrimSpace(answer)
	switch {
	case answer == "", strings.HasPrefix(answer, "No such session"):
		return nil
	case strings.HasPrefix(answer, "Permission denied"):
		return fmt.Errorf("%w with the admin level: the worker answers %.100q", ErrNoCLI, answer)
	}
	return fmt.Errorf("the worker answers %.100q", answer)
}

// ask sends one command and returns the answer, at most limit bytes of it. See Info for
// errors.
func (c *Client) ask(ctx context.Context, command string, limit int64) (answer string, err error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err := c.mayAsk(time.Now()); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	// Deadlines of the connection are not enough. A worker can send descriptors along
	// with its answer. The kernel closes them for this process, and that can last.
	proc.Bounded(ctx, func() {
		var conn net.Conn
		if conn, err = c.dial(ctx); err == nil {
			answer, err = converse(ctx, conn, command, limit)
		}
	})
	c.learn(time.Now(), err)
	return answer, err
}

// mayAsk returns errSilent while the worker must not be asked.
func (c *Client) mayAsk(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := c.next.Sub(now); wait > 0 {
		return fmt.Errorf("worker %d: %w, and is asked again in %v", c.worker.PID, errSilent,
			wait.Round(time.Second))
	}
	return nil
}

// learn records the end of a question. Only silence counts: any other error is an answer,
// or costs the worker nothing.
func (c *Client) learn(now time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.Is(err, errSilent) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.retry = 0
		return
	}
	c.retry = min(max(retryLeast, 2*c.retry), retryMost)
	c.next = now.Add(c.retry)
}

// converse sends one command, reads the answer and closes the connection. A connection
// that is left open keeps a stopping worker alive.
func converse(ctx context.Context, conn net.Conn, command string, limit int64) (string, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", fmt.Errorf("sending %q to the CLI: %w", command, err)
	}
	answer := io.LimitReader(&halfClosing{UnixConn: conn.(*net.UnixConn)}, limit+1)
	b, err := io.ReadAll(answer)
	if err == nil && int64(len(b)) > limit {
		err = errTooLong
	}
	if err != nil {
		return string(b), fmt.Errorf("reading the answer to %q from the CLI: %w", command, err)
	}
	return string(b), nil
}

// halfClosing closes a connection for writing after the first bytes of the answer. Some
// releases wait for more commands until then. But a half-close that arrives together with
// the command can be lost with it (haproxy/haproxy #3351).
type halfClosing struct {
	*net.UnixConn
	closed bool
}

func (h *halfClosing) Read(b []byte) (int, error) {
	n, err := h.UnixConn.Read(b)
	if n > 0 && !h.closed {
		h.closed = true
		err = errors.Join(err, h.CloseWrite())
	}
	return n, err
}
