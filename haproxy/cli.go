package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrNoCLI says that the master was started without a CLI that can be used from here (-S with a unix socket), or that it does not
	// let us do what was asked.
	ErrNoCLI = errors.New("no master CLI")
	// errTooLong says that an answer was longer than it may be. What there is of it is returned with it.
	errTooLong = errors.New("answer too long")
)

// Bounds of answers, in bytes: a worker parses the internet and is not to be trusted with our memory.
const (
	maxShort = 256 << 10 // show proc, show info
	maxSess  = 4 << 20   // show sess, some 15,000 sessions; a drain asks again for the rest
)

// CLI is the master's command line interface (management guide, 9.4). One command is one connection: a reload closes all of
// the master's connections, and a connection to a worker that is left open keeps a stopping worker alive.
type CLI struct {
	procfs  string
	master  int
	path    string // of the socket, as the master sees it
	timeout time.Duration
}

// Run sends one command and returns its answer, of limit bytes at the most. While a reload is under way the master refuses
// connections: that is an error like any other, and the answer is not to be had at the moment.
func (c *CLI) Run(ctx context.Context, command string, limit int64) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		return "", fmt.Errorf("connecting to the master CLI: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", fmt.Errorf("sending %q to the master CLI: %w", command, err)
	}
	// Some releases wait for more commands until we say that there are none.
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		return "", fmt.Errorf("sending %q to the master CLI: %w", command, err)
	}
	b, err := io.ReadAll(io.LimitReader(conn, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLong
	}
	if err != nil {
		return string(b), fmt.Errorf("reading the answer to %q from the master CLI: %w", command, err)
	}
	return string(b), nil
}

// dial connects to the socket.
func (c *CLI) dial(ctx context.Context) (net.Conn, error) {
	sock, err := openAs(c.procfs, c.master, c.path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer sock.Close()
	var d net.Dialer
	return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", sock.Fd()))
}

// Worker sends one command to the worker with this pid (in the master's pid namespace) through the master; see Run.
func (c *CLI) Worker(ctx context.Context, pid int, command string, limit int64) (string, error) {
	answer, err := c.Run(ctx, "@!"+strconv.Itoa(pid)+" "+command, limit)
	if err == nil && strings.HasPrefix(answer, "Can't ") {
		err = fmt.Errorf("sending %q to worker %d: the master says %q", command, pid, strings.TrimSpace(answer))
	}
	return answer, err
}

// masterCLI finds the CLI's socket from the master's command line: -S unix socket[,options], in the master's own file system.
func masterCLI(procfs string, pid int, cmdline []string) (*CLI, error) {
	var addr string
	for i, a := range cmdline {
		if a == "-S" && i+1 < len(cmdline) {
			addr = cmdline[i+1]
		}
	}
	if addr == "" {
		return nil, fmt.Errorf("%w: the master was started without -S", ErrNoCLI)
	}
	addr, _, _ = strings.Cut(addr, ",")
	path := strings.TrimPrefix(addr, "unix@")
	if !strings.HasPrefix(path, "/") && strings.ContainsAny(path, ":@") {
		return nil, fmt.Errorf("%w: %q is not a unix socket", ErrNoCLI, addr)
	}
	return &CLI{procfs: procfs, master: pid, path: path, timeout: 2 * time.Second}, nil
}
