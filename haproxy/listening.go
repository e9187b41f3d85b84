package haproxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// listening reports whether the process has a TCP socket that listens. A stopping worker has none, once its `grace` has passed;
// a worker that serves has one. An error means that it is not known.
func (p *Process) listening() (bool, error) {
	listens, err := p.listensNow()
	if err != nil && !p.Alive() {
		err = fmt.Errorf("listing the sockets of pid %d: %w", p.PID, ErrGone)
	}
	return listens, err
}

func (p *Process) listensNow() (bool, error) {
	inodes := map[uint64]bool{}
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		err := p.listenInodes(name, inodes)
		if name == "net/tcp6" && errors.Is(err, os.ErrNotExist) && p.Alive() {
			continue // a kernel without IPv6
		}
		if err != nil {
			return false, fmt.Errorf("listing the listening sockets of pid %d: %w", p.PID, err)
		}
	}
	if len(inodes) == 0 {
		return false, nil
	}
	d, err := os.Open(p.path("fd"))
	if err != nil {
		return false, fmt.Errorf("listing the sockets of pid %d: %w", p.PID, err)
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, n := range names {
			link, err := os.Readlink(p.path("fd/" + n))
			if errors.Is(err, os.ErrNotExist) {
				continue // closed since
			}
			if err != nil {
				return false, fmt.Errorf("reading the sockets of pid %d: %w", p.PID, err)
			}
			text, ok := strings.CutPrefix(link, "socket:[")
			if inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64); ok && err == nil && inodes[inode] {
				return true, nil
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("listing the sockets of pid %d: %w", p.PID, err)
		}
	}
}

func (p *Process) listenInodes(name string, into map[uint64]bool) error {
	f, err := os.Open(p.path(name))
	if err != nil {
		return err
	}
	defer f.Close()
	err = parseListening(f, into)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) {
		err = ErrGone
	}
	return err
}

// listenMost bounds the listening sockets of a network namespace, where anybody can open some. HAProxy itself may have one for each port.
const listenMost = 1 << 18

// parseListening reads /proc/PID/net/tcp or tcp6 (proc_net_tcp, net/ipv4/tcp_ipv4.c) and collects the inodes of the sockets in
// state LISTEN. The kernel lists those before all others, so it reads no further than the first of another state: the file
// of a busy host has hundreds of thousands of lines.
func parseListening(r io.Reader, into map[uint64]bool) error {
	sc := bufio.NewScanner(r)
	if !sc.Scan() || !strings.Contains(sc.Text(), "local_address") {
		return errors.Join(errors.New("parsing a socket table: no header"), sc.Err())
	}
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 10 {
			return fmt.Errorf("parsing socket table line %q: %d fields, want at least 10", sc.Text(), len(f))
		}
		if f[3] != "0A" {
			return nil
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil {
			return fmt.Errorf("parsing socket table line %q: %w", sc.Text(), err)
		}
		if into[inode] = true; len(into) > listenMost {
			return fmt.Errorf("parsing a socket table: more than %d sockets listen", listenMost)
		}
	}
	return sc.Err()
}
