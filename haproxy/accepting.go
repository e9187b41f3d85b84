package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Which sockets accept connections.
//
// A table such as /proc/PID/net/tcp shows one address family of one network namespace. A HAProxy worker has listeners of many
// families (TCP, Unix, abstract, vsock, MPTCP, QUIC, UDP of log-forward) and, by `bind ... namespace`, of other network
// namespaces. So each socket that is not known to be a connection (connected.go) is examined itself: pidfd_getfd(2) makes a copy
// of the descriptor, getsockopt(2) reads its state, and the copy is closed again, some microseconds later. Nothing is written to
// the socket, read from it or changed in it. A process that dies has its copies closed by the kernel.
//
// A worker that serves is examined in every Scan. There the listener found last is examined first, and nothing else if
// it still accepts.

// acceptTime bounds one examination of a process's sockets. A connection takes some microseconds of it.
const acceptTime = 5 * time.Second

// errTooManySockets is the reason a process is unknown that has more descriptors than can be examined in acceptTime.
var errTooManySockets = fmt.Errorf("it has more descriptors than can be examined in %v", acceptTime)

// A descriptor is one of a process's descriptors, and the socket that it refers to.
type descriptor struct{ number, inode string }

// A listener is a socket that accepts, and its description. The zero value is none.
type listener struct {
	descriptor
	socket string
}

// accepting returns a socket on which the process accepts connections or datagrams of any peer, or none. last is what it
// returned before for this process. An error means that it is not known.
func (p *Process) accepting(ctx context.Context, last listener) (l listener, err error) {
	short, cancel := context.WithTimeout(ctx, acceptTime)
	defer cancel()
	// To close the last copy of a socket can take as long as its owner has set (SO_LINGER).
	bounded(short, func() { l, err = p.findListener(short, last) })
	switch {
	case err == nil || ctx.Err() != nil:
	case !p.Alive():
		err = ErrGone
	case errors.Is(err, context.DeadlineExceeded):
		err = errTooManySockets
	}
	if err != nil {
		err = fmt.Errorf("examining the sockets of pid %d: %w", p.PID, err)
	}
	return l, err
}

func (p *Process) findListener(ctx context.Context, last listener) (listener, error) {
	dir, err := os.Open(p.path("fd"))
	if err != nil {
		return listener{}, err
	}
	defer dir.Close()
	if last.socket != "" {
		if l, err := p.firstAccepting(ctx, dir, []descriptor{last.descriptor}); err != nil || l.socket != "" {
			return l, err
		}
	}
	all, err := listSockets(ctx, dir)
	if err != nil {
		return listener{}, err
	}
	rest, err := p.withoutConnected(ctx, all)
	if err != nil {
		return listener{}, err
	}
	return p.firstAccepting(ctx, dir, rest)
}

// listSockets lists the sockets in a directory /proc/PID/fd.
func listSockets(ctx context.Context, dir *os.File) (all []descriptor, err error) {
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			inode, err := socketInode(dir, name)
			if err != nil {
				return nil, err
			}
			if inode != "" {
				all = append(all, descriptor{name, inode})
			}
		}
		if err == io.EOF {
			return all, nil
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return nil, err
		}
	}
}

// socketInode returns the inode of the socket that a descriptor refers to; "" if it is closed or is no socket.
func socketInode(dir *os.File, name string) (string, error) {
	link := make([]byte, len("socket:[18446744073709551615]"))
	n, err := unix.Readlinkat(int(dir.Fd()), name, link)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	inode, ok := strings.CutPrefix(string(link[:n]), "socket:[")
	if !ok {
		return "", nil
	}
	return strings.TrimSuffix(inode, "]"), nil
}

// firstAccepting returns the first of the sockets that accepts. A descriptor that no longer refers to its socket is left out.
func (p *Process) firstAccepting(ctx context.Context, dir *os.File, of []descriptor) (listener, error) {
	for _, d := range of {
		if ctx.Err() != nil {
			return listener{}, ctx.Err()
		}
		if inode, err := socketInode(dir, d.number); err != nil {
			return listener{}, err
		} else if inode != d.inode {
			continue
		}
		socket, err := p.acceptsOn(d.number)
		if err != nil || socket != "" {
			return listener{d, socket}, err
		}
	}
	return listener{}, nil
}

// acceptsOn examines one descriptor. One that was closed meanwhile accepts nothing.
func (p *Process) acceptsOn(name string) (socket string, err error) {
	number, err := strconv.Atoi(name)
	if err != nil {
		return "", err
	}
	fd, err := unix.PidfdGetfd(p.pidfd, number, 0)
	if errors.Is(err, unix.EBADF) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("copying descriptor %d: %w", number, err)
	}
	defer unix.Close(fd)
	socket, err = acceptor(fd)
	if err != nil {
		err = fmt.Errorf("examining descriptor %d: %w", number, err)
	}
	return socket, err
}

// acceptor describes a socket that accepts connections or datagrams of any peer; "" is any other file.
//
// A socket of connections accepts when it listens (socket(7), SO_ACCEPTCONN), whatever its family. A datagram socket has no
// such state. It takes datagrams of any peer if it has an address, is not connected, and is not shut down for reading. HAProxy
// sets SO_REUSEADDR on every listener that it binds itself (src/sock_inet.c, sock_inet_bind_receiver): for datagrams those of
// QUIC and of log-forward. Not among them are the sockets that it sends log lines from, which it shuts down for reading
// (src/log.c); those of resolvers, which are connected, or from 3.5 on bound to any port without SO_REUSEADDR (src/dns.c);
// those of single QUIC connections, which are connected; and those to /dev/log, which have no address.
//
// A datagram listener that was inherited can be missed, as can one of sockpair@, which is no listening socket. Both are
// listeners that the worker counts itself: see judge.
func acceptor(fd int) (string, error) {
	accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if errors.Is(err, unix.ENOTSOCK) {
		return "", nil // the number was reused between the link and the copy
	}
	if err != nil {
		return "", err
	}
	if accepts != 0 {
		return describe(fd), nil
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_DGRAM || !takesDatagrams(fd) {
		return "", err
	}
	if _, err := unix.Getpeername(fd); err == nil {
		return "", nil
	}
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if _, err := unix.Poll(events, 0); err != nil && !errors.Is(err, unix.EINTR) {
		return "", err
	}
	if events[0].Revents&unix.POLLRDHUP != 0 {
		return "", nil
	}
	return describe(fd), nil
}

// takesDatagrams reports whether a datagram socket has an address that was made for peers to send to.
func takesDatagrams(fd int) bool {
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return false // a family without addresses of this kind, such as netlink's
	}
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return a.Port != 0 && reusesAddress(fd)
	case *unix.SockaddrInet6:
		return a.Port != 0 && reusesAddress(fd)
	case *unix.SockaddrUnix:
		return a.Name != "" && a.Name != "@" // the latter is how Go shows that it has none
	case *unix.SockaddrVM:
		return true
	}
	return false
}

func reusesAddress(fd int) bool {
	reuses, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	return err == nil && reuses != 0
}

// describe names a socket for people. Its address is the process's own to choose, so it is quoted and bounded.
func describe(fd int) string {
	addr, _ := unix.Getsockname(fd) // nil of a family that the package does not know
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrUnix:
		return fmt.Sprintf("%.100q", a.Name)
	}
	family, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return fmt.Sprintf("a socket of family %d", family)
}
