package haproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrNoCLI says that there is no CLI that can be used from here, or that it does not let us do what was asked.
	ErrNoCLI = errors.New("no master CLI")
	// errTooLong says that an answer was longer than it may be. What there is of it is returned with it.
	errTooLong = errors.New("answer too long")
)

// Bounds of answers, in bytes: a worker parses the internet and is not to be trusted with our memory.
const (
	maxShort = 256 << 10 // show proc, show info
	maxSess  = 4 << 20   // show sess, some 15,000 sessions; a drain asks again for the rest

	maxSessions = 1 << 14 // sessions, of an answer that has shorter lines than HAProxy's
)

// A cli is the master's command line interface (management guide, 9.4), and through it that of each worker.
type cli struct {
	procfs  string
	master  ID
	path    string // of the master's socket, as the master sees it; "" = it has none
	uid     uint32 // whom the master runs as
	depth   int    // of its pid namespace
	timeout time.Duration
	silent  bool // it has just not answered, as workers may around it
}

// run sends one command to the master and returns its answer, of limit bytes at the most. While a reload is under way the master refuses
// connections: that is an error like any other, and the answer is not to be had at the moment.
func (c *cli) run(ctx context.Context, command string, limit int64) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	bounded(ctx, func() {
		var conn net.Conn
		if conn, err = c.dial(ctx); err != nil {
			err = fmt.Errorf("connecting to the master CLI: %w", err)
			return
		}
		answer, err = converse(ctx, conn, command, limit)
	})
	return answer, err
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

// converse sends one command, reads the answer and closes the connection. One command is one connection: a reload closes all of the
// master's connections, and a connection to a worker that is left open keeps a stopping worker alive.
func converse(ctx context.Context, conn net.Conn, command string, limit int64) (string, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", fmt.Errorf("sending %q to the CLI: %w", command, err)
	}
	// Some releases wait for more commands until we say that there are none.
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		return "", fmt.Errorf("sending %q to the CLI: %w", command, err)
	}
	b, err := io.ReadAll(io.LimitReader(conn, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLong
	}
	if err != nil {
		return string(b), fmt.Errorf("reading the answer to %q from the CLI: %w", command, err)
	}
	return string(b), nil
}

// dial connects to the socket.
func (c *cli) dial(ctx context.Context) (net.Conn, error) {
	sock, err := openAs(c.procfs, c.master.PID, c.path)
	if err != nil {
		return nil, err
	}
	defer sock.Close()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", fdPath(sock))
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err == nil {
		var refused error
		err = raw.Control(func(fd uintptr) { refused = c.mayTalkTo(int(fd)) })
		err = cmp.Or(err, refused)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// mayTalkTo makes sure that a socket leads to somebody whom the master's user could talk to as well: anybody can call a process haproxy and
// name another's socket as its own, and we are let in where it is not.
func (c *cli) mayTalkTo(sock int) error {
	peer, err := unix.GetsockoptUcred(sock, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err == nil && peer.Uid != c.uid {
		err = fmt.Errorf("it is of user %d, master %d runs as user %d", peer.Uid, c.master.PID, c.uid)
	}
	if err != nil {
		return fmt.Errorf("looking whose socket it is: %w", err)
	}
	return nil
}

// ask sends one command to a worker through the master and returns its answer, of limit bytes at the most. Where the master does not do
// that, it goes around the master. ErrNoCLI: there is no way to the worker.
func (w *Worker) ask(ctx context.Context, command string, limit int64) (string, error) {
	c := w.cli
	if c.silent {
		if answer, err := w.askAround(ctx, command, limit); !errors.Is(err, ErrNoCLI) {
			return answer, err
		}
	}
	err := error(ErrNoCLI)
	if c.path != "" {
		answer, merr := c.run(ctx, "@!"+strconv.Itoa(w.NSPID)+" "+command, limit)
		if merr == nil && strings.HasPrefix(answer, "Can't ") {
			merr = fmt.Errorf("sending %q to worker %d: the master says %.100q", command, w.NSPID, strings.TrimSpace(answer))
		}
		if err = merr; err == nil || errors.Is(err, errTooLong) || ctx.Err() != nil {
			return answer, err
		}
	}
	answer, derr := w.askAround(ctx, command, limit)
	if errors.Is(derr, ErrNoCLI) && c.path != "" {
		return "", err // the master's CLI is only away for a while
	}
	return answer, derr
}

// askAround asks without the master.
func (w *Worker) askAround(ctx context.Context, command string, limit int64) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.cli.timeout)
	defer cancel()
	bounded(ctx, func() {
		var conn net.Conn
		if conn, err = w.cli.dialWorker(w.ID, w.NSPID); err == nil {
			answer, err = converse(ctx, conn, command, limit)
		}
	})
	return answer, err
}

// ShowInfo asks the worker for its state. See ask for errors.
func (w *Worker) ShowInfo(ctx context.Context) (Info, error) {
	answer, err := w.ask(ctx, "show info", maxShort)
	if err != nil {
		return Info{}, err
	}
	in, err := ParseShowInfo(answer)
	if err == nil && in.PID != w.NSPID {
		err = fmt.Errorf("show info answers for pid %d", in.PID)
	}
	return in, err
}

// About asks the worker for the release that it runs and for the level that our commands have there, such as admin. See ask for errors.
func (w *Worker) About(ctx context.Context) (release, level string, err error) {
	info, err := w.ask(ctx, "show info", maxShort)
	if err == nil {
		level, err = w.ask(ctx, "show cli level", maxShort)
	}
	_, release, _ = strings.Cut("\n"+info, "\nVersion: ")
	release, _, _ = strings.Cut(release, "\n")
	return release, strings.TrimSpace(level), err
}

// masterSocket finds the path of the CLI's socket on the master's command line: -S unix socket[,options], in the master's own file system.
func masterSocket(cmdline []string) (path string, err error) {
	var addr string
	for i, a := range cmdline {
		if a == "-S" && i+1 < len(cmdline) {
			addr = cmdline[i+1]
		}
	}
	addr, _, _ = strings.Cut(addr, ",")
	path = strings.TrimPrefix(addr, "unix@")
	if path == "" {
		return "", fmt.Errorf("%w: the master was started without -S", ErrNoCLI)
	}
	if !strings.HasPrefix(path, "/") && strings.ContainsAny(path, ":@") || len(path) >= unix.PathMax {
		return "", fmt.Errorf("%w: %.100q is not a unix socket", ErrNoCLI, addr)
	}
	return path, nil
}
