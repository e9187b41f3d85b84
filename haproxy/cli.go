package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrNoCLI says that the master was started without a CLI that can be used from here (-S with a unix socket).
var ErrNoCLI = errors.New("no master CLI")

// CLI is the master's command line interface (management guide, 9.4). One command is one connection: a reload closes all of
// the master's connections, and a connection to a worker that is left open keeps a stopping worker alive.
type CLI struct {
	addr    string // path of a unix socket, as seen from here
	timeout time.Duration
}

// maxAnswer bounds what is read of one answer, in bytes: a worker parses the internet and is not to be trusted with our memory.
const maxAnswer = 16 << 20

// Run sends one command and returns its answer. While a reload is under way the master refuses connections: that is an
// error like any other, and the answer is not to be had at the moment.
func (c *CLI) Run(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.addr)
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
	b, err := io.ReadAll(io.LimitReader(conn, maxAnswer+1))
	if err != nil {
		return "", fmt.Errorf("reading the answer to %q from the master CLI: %w", command, err)
	}
	if len(b) > maxAnswer {
		return "", fmt.Errorf("reading the answer to %q from the master CLI: more than %d bytes", command, maxAnswer)
	}
	return string(b), nil
}

// Worker sends one command to the worker with this pid (in the master's pid namespace) through the master.
func (c *CLI) Worker(ctx context.Context, pid int, command string) (string, error) {
	answer, err := c.Run(ctx, "@!"+strconv.Itoa(pid)+" "+command)
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
	dir := filepath.Join(procfs, strconv.Itoa(pid))
	switch {
	case strings.HasPrefix(path, "/"):
		path = filepath.Join(dir, "root", path)
	case strings.ContainsAny(path, ":@"):
		return nil, fmt.Errorf("%w: %q is not a unix socket", ErrNoCLI, addr)
	default:
		path = filepath.Join(dir, "cwd", path)
	}
	if len(path) >= 108 {
		return nil, fmt.Errorf("%w: the path %q is longer than a unix socket's address can be", ErrNoCLI, path)
	}
	return &CLI{addr: path, timeout: 2 * time.Second}, nil
}
