package haproxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The other way to a worker's CLI.
//
// A master talks to each worker over a socket pair. What it sends there is the file descriptor of a connection, which the worker then
// takes for one that it has accepted, with the rights of an admin (src/proto_sockpair.c, send_fd_uxst; src/cli.c,
// mworker_cli_sockpair_new). In each reload the master notes its ends of the pairs in its own environment, to find them again when
// it has executed itself anew (src/mworker.c, mworker_proc_list_to_env). So a worker can be asked where the master has no -S, and while the master
// answers nobody because it is loading.

// dialWorker connects to a stopping worker's CLI without asking the master for it. ErrNoCLI: the master has no note of the worker.
//
// The note is right for any worker that is stopping: the reload that made it stop came after its start, and wrote a note of each worker
// that was then alive. While the worker lives the master keeps its end open, so it is checked again at last that it lives.
func (c *cli) dialWorker(worker ID, nspid int) (net.Conn, error) {
	p, err := OpenProcess(c.procfs, worker)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	m, err := OpenProcess(c.procfs, c.master)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	env, err := m.environ()
	if err != nil {
		return nil, fmt.Errorf("reading the environment of master %d: %w", m.PID, err)
	}
	number, ok := parseProcesses(env)[nspid]
	if !ok {
		return nil, fmt.Errorf("%w: master %d has no note of worker %d in its environment", ErrNoCLI, m.PID, nspid)
	}
	pair, err := unix.PidfdGetfd(m.pidfd, number, 0)
	if err != nil {
		return nil, fmt.Errorf("taking a copy of descriptor %d of master %d: %w", number, m.PID, err)
	}
	defer unix.Close(pair)
	if domain, err := unix.GetsockoptInt(pair, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_UNIX {
		return nil, fmt.Errorf("descriptor %d of master %d is not its socket to worker %d", number, m.PID, nspid)
	}
	if err := c.mayTalkTo(pair); err != nil {
		return nil, fmt.Errorf("descriptor %d of master %d: %w", number, m.PID, err)
	}
	if !p.Alive() {
		return nil, ErrGone
	}
	return connectThrough(pair)
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
		for entry := range strings.SplitSeq(string(v[len(name):]), "|") {
			field := map[string]string{}
			for f := range strings.SplitSeq(entry, ";") {
				key, value, _ := strings.Cut(f, "=")
				field[key] = value
			}
			pid, err := strconv.Atoi(field["pid"])
			fd, ferr := strconv.Atoi(field["fd"])
			if field["type"] == "w" && err == nil && ferr == nil && pid > 0 && fd > 2 {
				fds[pid] = fd
			}
		}
	}
	return fds
}
