package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// The way to a worker's CLI.
//
// A master talks to each worker over a socket pair. What it sends there is the file descriptor of a connection, which the worker then
// takes for one that it has accepted, with the rights of an admin (src/proto_sockpair.c, send_fd_uxst; src/cli.c,
// mworker_cli_sockpair_new). In each reload the master notes its ends of the pairs in its own environment, to find them again when
// it has executed itself anew (src/mworker.c, mworker_proc_list_to_env). hapressure copies the master's end with pidfd_getfd(2),
// sends what the master would send, and closes the copy at once. So a worker can be asked without a slot of the master's CLI,
// where the master has no -S, and while the master answers no client because it is loading.

// dial connects to the worker's CLI. ErrNoCLI: the master has no note of the worker. errSilent: the worker has not taken an
// earlier connection off the pair.
//
// The note is right for any worker that is stopping: the reload that made it stop came after its start, and wrote a note of each worker
// that was then alive. While the worker lives the master keeps its end open, under the same number, so it is checked again at last
// that it lives.
func (c *cli) dial(ctx context.Context) (net.Conn, error) {
	p, err := OpenProcess(c.procfs, c.worker)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	m, err := OpenProcess(c.procfs, c.master)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	number, err := c.pairNumber(ctx, m)
	if err != nil {
		return nil, err
	}
	pair, err := unix.PidfdGetfd(m.pidfd, number, 0)
	if err != nil {
		return nil, fmt.Errorf("taking a copy of descriptor %d of master %d: %w", number, m.PID, err)
	}
	defer unix.Close(pair)
	if domain, err := unix.GetsockoptInt(pair, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_UNIX {
		return nil, fmt.Errorf("descriptor %d of master %d is not its socket to worker %d", number, m.PID, c.nspid)
	}
	if err := c.mayTalkTo(pair); err != nil {
		return nil, fmt.Errorf("descriptor %d of master %d: %w", number, m.PID, err)
	}
	waiting, err := unix.IoctlGetInt(pair, unix.SIOCOUTQ)
	if err == nil && waiting > 0 {
		err = errSilent
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to worker %d: %w", p.PID, err)
	}
	if !p.Alive() {
		return nil, ErrGone
	}
	return connectThrough(pair)
}

// pairNumber returns the number of the master's end of the socket pair.
func (c *cli) pairNumber(ctx context.Context, m *Process) (int, error) {
	c.mu.Lock()
	number := c.pair
	c.mu.Unlock()
	if number > 0 {
		return number, nil
	}
	env, err := through(ctx, c.masterReads, m.environ)
	if err != nil {
		return 0, fmt.Errorf("reading the environment of master %d: %w", m.PID, err)
	}
	number, ok := parseProcesses(env)[c.nspid]
	if !ok {
		return 0, fmt.Errorf("%w: master %d has no note of worker %d in its environment", ErrNoCLI, m.PID, c.nspid)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pair = number
	return number, nil
}

// connectThrough makes a connection and sends its other end over a socket.
func connectThrough(pair int) (net.Conn, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("making a connection: %w", err)
	}
	defer unix.Close(ends[1])
	ours := os.NewFile(uintptr(ends[0]), "worker CLI")
	defer ours.Close() // FileConn makes a copy
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("making a connection: %w", err)
	}
	// Two bytes, as the master sends.
	if err := unix.Sendmsg(pair, []byte{0, 0}, unix.UnixRights(ends[1]), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != nil {
		conn.Close()
		return nil, fmt.Errorf("sending a connection to the worker: %w", err)
	}
	return conn, nil
}

// environ reads the environment that a process was executed with. It is empty for a moment during execve(2): that is an error.
func (p *Process) environ() ([]byte, error) {
	b, err := readProcFile(p.procfs, p.PID, "environ")
	if err == nil && len(b) == 0 {
		err = errors.New("it is empty")
	}
	return b, err
}

// maxNote bounds the note that is read of an environment, in bytes: execve(2) takes no longer variable (MAX_ARG_STRLEN), but a
// process can write over its own.
const maxNote = 128 << 10

// parseProcesses reads HAPROXY_PROCESSES out of an environment: the descriptor of the master's end of the socket pair, by the worker's pid.
// What is not understood is left out.
//
//	|type=w;fd=6;cfd=7;pid=3831;reloads=1;failedreloads=0;timestamp=0;id=;version=3.0.11
func parseProcesses(env []byte) map[int]int {
	const name = "HAPROXY_PROCESSES="
	fds := map[int]int{}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if !bytes.HasPrefix(v, []byte(name)) {
			continue
		}
		for entry := range bytes.SplitSeq(v[len(name):min(len(v), maxNote)], []byte("|")) {
			if pid, fd, ok := parseNote(entry); ok {
				fds[pid] = fd
			}
		}
		break
	}
	return fds
}

// parseNote reads one entry of HAPROXY_PROCESSES; ok is false for other processes than workers.
func parseNote(entry []byte) (pid, fd int, ok bool) {
	kind := ""
	for field := range bytes.SplitSeq(entry, []byte(";")) {
		key, value, _ := bytes.Cut(field, []byte("="))
		var err error
		switch string(key) {
		case "type":
			kind = string(value)
		case "pid":
			pid, err = strconv.Atoi(string(value))
		case "fd":
			fd, err = strconv.Atoi(string(value))
		}
		if err != nil {
			return 0, 0, false
		}
	}
	return pid, fd, kind == "w" && pid > 0 && fd > 2
}
