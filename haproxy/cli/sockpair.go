package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
)

// The connection to a worker's CLI.
//
// A master talks to each worker over a socket pair. It sends the file descriptor of a
// connection, which the worker then treats as one that it has accepted, with the rights
// of an admin (src/proto_sockpair.c, send_fd_uxst; src/cli.c, mworker_cli_sockpair_new).
// In each reload the master notes its ends of the pairs in its own environment, to find
// them again after it has executed itself (src/mworker.c, mworker_proc_list_to_env).
// hapressure copies the master's end with pidfd_getfd(2), sends what the master would
// send, and closes the copy at once. So a worker can be asked without a slot of the
// master's CLI, in a master without -S, and while the master answers no client because it
// is loading.

var (
	// ErrNoCLI means that the worker's CLI cannot be reached, or refuses what was asked.
	ErrNoCLI = errors.New("no way to the worker's CLI")
	// errSilent means that the worker has left an earlier question unanswered and is not
	// asked now.
	errSilent = errors.New("it has not answered an earlier question")
)

// pair is a worker's socket pair to its master.
type pair struct {
	procfs      string
	worker      proc.ID
	nspid       int // the worker's pid as the master knows it
	master      proc.ID
	uid         uint32         // effective user of the master
	masterReads proc.Turnstile // of the master's memory

	known  sync.Mutex
	number int // of the master's end; 0 = not known yet
}

// dial connects to the worker's CLI. ErrNoCLI: the master has not noted the worker.
// errSilent: the worker has not taken an earlier connection off the pair.
//
// The note is right for any worker that is stopping: the reload that made it stop came
// after its start, and noted each worker that was then alive. While the worker lives the
// master keeps its end open, under the same number. So the last check is that the worker
// lives.
func (c *pair) dial(ctx context.Context) (net.Conn, error) {
	w, err := proc.Open(c.procfs, c.worker)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	m, err := proc.Open(c.procfs, c.master)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	number, err := c.masterEnd(ctx, m)
	if err != nil {
		return nil, err
	}
	end, err := m.CopyDescriptor(number)
	if err != nil {
		return nil, err
	}
	defer unix.Close(end)
	if err := c.check(end); err != nil {
		return nil, fmt.Errorf("descriptor %d of master %d: %w", number, m.PID, err)
	}
	waiting, err := unix.IoctlGetInt(end, unix.SIOCOUTQ)
	if err == nil && waiting > 0 {
		err = errSilent
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to worker %d: %w", w.PID, err)
	}
	if !w.Alive() {
		return nil, proc.ErrGone
	}
	return connectThrough(end)
}

// masterEnd returns the number of the master's end of the socket pair.
func (c *pair) masterEnd(ctx context.Context, m *proc.Process) (int, error) {
	c.known.Lock()
	number := c.number
	c.known.Unlock()
	if number > 0 {
		return number, nil
	}
	env, err := proc.Through(ctx, c.masterReads, func() ([]byte, error) {
		b, err := m.ReadFile("environ")
		if err == nil && len(b) == 0 {
			err = errors.New("it is empty") // as for a moment during execve(2)
		}
		return b, err
	})
	if err != nil {
		return 0, fmt.Errorf("reading the environment of master %d: %w", m.PID, err)
	}
	number, ok := parseProcesses(env)[c.nspid]
	if !ok {
		return 0, fmt.Errorf("%w: master %d has not noted worker %d in its environment",
			ErrNoCLI, m.PID, c.nspid)
	}
	c.known.Lock()
	defer c.known.Unlock()
	c.number = number
	return number, nil
}

// check makes sure that a socket is the master's. Any user can call a process haproxy and
// name any descriptor as its socket to a worker, and hapressure can talk to sockets that
// the user cannot reach.
func (c *pair) check(sock int) error {
	if domain, err := unix.GetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil ||
		domain != unix.AF_UNIX {
		return fmt.Errorf("it is not the socket to worker %d", c.nspid)
	}
	peer, err := unix.GetsockoptUcred(sock, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return fmt.Errorf("reading the user of a socket: %w", err)
	}
	if peer.Uid != c.uid {
		return fmt.Errorf("it is of user %d, but the master runs as user %d", peer.Uid, c.uid)
	}
	return nil
}

// connectThrough makes a connection and sends its other end over a socket.
func connectThrough(sock int) (net.Conn, error) {
	const kind = unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	ends, err := unix.Socketpair(unix.AF_UNIX, kind, 0)
	if err != nil {
		return nil, fmt.Errorf("making a connection: %w", err)
	}
	defer unix.Close(ends[1])
	own := os.NewFile(uintptr(ends[0]), "worker CLI")
	defer own.Close() // FileConn makes a copy
	conn, err := net.FileConn(own)
	if err != nil {
		return nil, fmt.Errorf("making a connection: %w", err)
	}
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	// Two bytes, as the master sends.
	err = unix.Sendmsg(sock, []byte{0, 0}, unix.UnixRights(ends[1]), nil, flags)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("sending a connection to the worker: %w", err)
	}
	return conn, nil
}

// maxNote bounds what is read of HAPROXY_PROCESSES, in bytes. execve(2) takes no longer
// variable (MAX_ARG_STRLEN), but a process can overwrite its own.
const maxNote = 128 << 10

// parseProcesses reads HAPROXY_PROCESSES in an environment: the descriptor of the
// master's end of the socket pair, by the worker's pid. It skips what it does not
// understand.
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

// parseNote parses one entry of HAPROXY_PROCESSES. ok is false for other processes than
// workers.
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
