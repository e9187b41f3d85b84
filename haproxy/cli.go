package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What a worker is asked, and how often.
//
// A question costs its worker one connection of its CLI for as long as it takes to answer, and costs the master nothing: the
// connection is made over the worker's own socket pair (sockpair.go), never through the master's CLI, whose 10 slots belong to
// operators and agents, and carry the messages of workers that have just started (src/cli.c, maxconn). Only workers that
// accept no connection are asked. One that does not answer is asked again after retryLeast, and after twice as long each
// further time; and no worker is asked while it has not taken an earlier connection off its socket pair, whoever sent that.

var (
	// ErrNoCLI says that there is no way to the worker's CLI from here, or that it does not let us do what was asked.
	ErrNoCLI = errors.New("no way to the worker's CLI")
	// errSilent says that a worker has left an earlier question unanswered, and is not asked now.
	errSilent = errors.New("it has not answered an earlier question")
	// errTooLong says that an answer was longer than it may be. What there is of it is returned with it.
	errTooLong = errors.New("answer too long")
)

// Bounds of answers, in bytes: a worker parses the internet and is not to be trusted with our memory.
const (
	maxShort = 256 << 10 // show info
	maxSess  = 4 << 20   // show sess, some 15,000 sessions; a drain asks again for the rest

	maxSessions = 1 << 14 // sessions, of an answer that has shorter lines than HAProxy's
)

// Bounds of questions, in time.
const (
	answerTime = 2 * time.Second // of one question and its answer
	retryLeast = 5 * time.Second // after the first question without an answer
	retryMost  = 10 * time.Minute
	infoFresh  = 5 * time.Second // age up to which an answer to show info serves again
)

// A cli is the command line interface of one worker (management guide, 9.3).
type cli struct {
	procfs      string
	worker      ID
	nspid       int // the worker's pid as the master knows it
	master      ID
	uid         uint32        // user that the master runs as
	masterReads turnstile     // of the master's memory
	timeout     time.Duration // of one question and its answer

	mu    sync.Mutex
	pair  int           // number of the master's end of the socket pair; 0 = not known yet
	retry time.Duration // between the last question without an answer and the next; 0 = all were answered
	next  time.Time     // no question before this
	info  Info          // as last answered
	asked time.Time     // when that was
}

// newCLI returns the CLI of a worker, or why its questions could not be told from those to another worker.
func newCLI(procfs string, worker, master ID, st status, masterReads turnstile) (c *cli, why string) {
	own, err := readStatus(procfs, worker.PID)
	if err != nil {
		return nil, err.Error()
	}
	if own.depth != st.depth {
		return nil, "it is in a pid namespace of its own: what its pid is there may be another worker's here"
	}
	return &cli{procfs: procfs, worker: worker, nspid: own.nspid, master: master, uid: st.uid, masterReads: masterReads,
		timeout: answerTime}, ""
}

// ask sends one command to a worker and returns its answer, of limit bytes at the most. ErrNoCLI: there is no way to the
// worker. errSilent: it is not asked now. If ctx has ended the worker is not asked, and the error is the cause.
func (c *cli) ask(ctx context.Context, command string, limit int64) (answer string, err error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err := c.mayAsk(time.Now()); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	bounded(ctx, func() {
		var conn net.Conn
		if conn, err = c.dial(ctx); err == nil {
			answer, err = converse(ctx, conn, command, limit)
		}
	})
	c.learn(time.Now(), err)
	return answer, err
}

// mayAsk returns errSilent while the worker is not to be asked.
func (c *cli) mayAsk(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := c.next.Sub(now); wait > 0 {
		return fmt.Errorf("worker %d: %w, and is asked again in %v", c.worker.PID, errSilent, wait.Round(time.Second))
	}
	return nil
}

// learn takes note of what became of a question. Only silence counts: any other error is an answer, or costs the worker nothing.
func (c *cli) learn(now time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.Is(err, errSilent) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.retry = 0
		return
	}
	c.retry = min(max(retryLeast, 2*c.retry), retryMost)
	c.next = now.Add(c.retry)
}

// showInfo returns the worker's state, as it was at most infoFresh ago.
func (c *cli) showInfo(ctx context.Context) (Info, error) {
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
	info, err = ParseShowInfo(answer)
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

// ask sends one command to the worker. See cli.ask.
func (w *Worker) ask(ctx context.Context, command string, limit int64) (string, error) {
	if w.cli == nil {
		return "", fmt.Errorf("%w: %s", ErrNoCLI, w.Why)
	}
	return w.cli.ask(ctx, command, limit)
}

// errServes is why a worker that may serve is not asked.
var errServes = errors.New("not asked: only workers that are stopping are")

// Connections returns how many connections of clients a stopping worker has, as it was some seconds ago at the most. Other
// workers are not asked.
func (w *Worker) Connections(ctx context.Context) (int, error) {
	if w.State != Stopping || w.cli == nil {
		return 0, errServes
	}
	info, err := w.cli.showInfo(ctx)
	return info.Connections, err
}

// bounded runs fn and interrupts the system calls that it is in once ctx has ended.
//
// Deadlines of a connection are not enough. A worker can send descriptors along with its answer. We take none, so the kernel closes them
// in our name, and to close a socket lasts for as long as its maker likes (SO_LINGER), or until a signal comes. SIGURG is the one by which the
// Go runtime interrupts threads.
func bounded(ctx context.Context, fn func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid, done := unix.Gettid(), make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		for {
			unix.Tgkill(unix.Getpid(), tid, unix.SIGURG)
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	fn()
}

// converse sends one command, reads the answer and closes the connection. One command is one connection: one that is left open
// keeps a stopping worker alive.
func converse(ctx context.Context, conn net.Conn, command string, limit int64) (string, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", fmt.Errorf("sending %q to the CLI: %w", command, err)
	}
	b, err := io.ReadAll(io.LimitReader(&halfClosing{UnixConn: conn.(*net.UnixConn)}, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLong
	}
	if err != nil {
		return string(b), fmt.Errorf("reading the answer to %q from the CLI: %w", command, err)
	}
	return string(b), nil
}

// halfClosing closes a connection for writing after the first bytes of the answer. Some releases wait for more commands until then;
// but a half-close that arrives together with the command can be lost with it (haproxy/haproxy #3351).
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

// mayTalkTo makes sure that a socket was made by the user that the master runs as. Any user can call a process haproxy and name
// any descriptor as its socket to a worker, and hapressure can talk to those that the user cannot.
func (c *cli) mayTalkTo(sock int) error {
	peer, err := unix.GetsockoptUcred(sock, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err == nil && peer.Uid != c.uid {
		err = fmt.Errorf("it is of user %d, master %d runs as user %d", peer.Uid, c.master.PID, c.uid)
	}
	if err != nil {
		return fmt.Errorf("reading the user of a socket: %w", err)
	}
	return nil
}
