package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Which sockets accept connections.
//
// A table such as /proc/PID/net/tcp shows one address family of one network namespace. A
// process can listen on sockets of many families and, in HAProxy by `bind ... namespace`,
// of other network namespaces. So each socket that is not known to be a connection
// (connected.go) is examined itself: pidfd_getfd(2) copies the descriptor, getsockopt(2)
// reads the state of the socket, and the copy is closed some microseconds later. Nothing
// is written to the socket, read from it or changed in it. The kernel closes the copies
// of a process that dies.
//
// In a process that was found to accept before, the listener found last is examined
// first, and nothing else if it still accepts (StillAccepts).

// acceptTime bounds one examination of a process's sockets. A connection takes some
// microseconds.
const acceptTime = 5 * time.Second

var errTooManySockets = fmt.Errorf("it has more descriptors than can be examined in %v", acceptTime)

// descriptor is a descriptor of a process, and the inode of the socket that it refers to.
type descriptor struct {
	number int
	inode  uint64
}

// Listener is a socket that accepts, with its description. The zero value is none.
type Listener struct {
	descriptor
	Socket string
}

// StillAccepts reports whether a socket that accepted before still does.
func (p *Process) StillAccepts(ctx context.Context, last Listener) (bool, error) {
	l, err := p.examine(ctx, []descriptor{last.descriptor})
	return l.Socket != "", err
}

// examine returns the first of the sockets that accepts.
func (p *Process) examine(ctx context.Context, of []descriptor) (l Listener, err error) {
	short, cancel := context.WithTimeout(ctx, acceptTime)
	defer cancel()
	// The close of the last copy of a socket can take as long as its owner has set
	// (SO_LINGER).
	Bounded(short, func() {
		var dir *os.File
		if dir, err = os.Open(p.Path("fd")); err == nil {
			defer dir.Close()
			l, err = p.firstAccepting(short, dir, of)
		}
	})
	return l, p.explain(ctx, err)
}

// explain completes an error of an examination within ctx.
func (p *Process) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
	case !p.Alive():
		err = ErrGone
	case errors.Is(err, context.DeadlineExceeded):
		err = errTooManySockets
	}
	return fmt.Errorf("examining the sockets of pid %d: %w", p.PID, err)
}

// listSockets lists the sockets in a directory /proc/PID/fd.
func listSockets(ctx context.Context, dir *os.File) (all []descriptor, err error) {
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			number, err := strconv.Atoi(name)
			if err != nil {
				return nil, err
			}
			inode, err := socketInode(dir, name)
			if err != nil {
				return nil, err
			}
			if inode != 0 {
				all = append(all, descriptor{number, inode})
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

// socketInode returns the inode of the socket that a descriptor refers to; 0 if it is
// closed or is no socket.
func socketInode(dir *os.File, name string) (uint64, error) {
	link := make([]byte, len("socket:[18446744073709551615]"))
	n, err := unix.Readlinkat(int(dir.Fd()), name, link)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	inode, ok := bytes.CutPrefix(link[:n], []byte("socket:["))
	if !ok {
		return 0, nil
	}
	return strconv.ParseUint(string(bytes.TrimSuffix(inode, []byte("]"))), 10, 64)
}

// firstAccepting returns the first of the sockets that accepts. It skips a descriptor
// that no longer refers to its socket.
func (p *Process) firstAccepting(ctx context.Context, dir *os.File, of []descriptor) (
	Listener, error) {
	for _, d := range of {
		if ctx.Err() != nil {
			return Listener{}, ctx.Err()
		}
		if inode, err := socketInode(dir, strconv.Itoa(d.number)); err != nil {
			return Listener{}, err
		} else if inode != d.inode {
			continue
		}
		socket, err := p.acceptsOn(d.number)
		if err != nil || socket != "" {
			return Listener{d, socket}, err
		}
	}
	return Listener{}, nil
}

// acceptsOn examines one descriptor. One that was closed meanwhile accepts nothing.
func (p *Process) acceptsOn(number int) (socket string, err error) {
	fd, err := p.CopyDescriptor(number)
	if errors.Is(err, unix.EBADF) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	socket, err = acceptor(fd)
	if err != nil {
		err = fmt.Errorf("examining descriptor %d: %w", number, err)
	}
	return socket, err
}

// acceptor describes a socket that accepts connections or datagrams of any peer. It
// returns "" for any other file.
//
// A socket of connections accepts if it listens (socket(7), SO_ACCEPTCONN), whatever its
// family. A datagram socket has no such state. It takes datagrams of any peer if it has
// an address that it was given for peers (see takesDatagrams), is not connected, and is
// not shut down for reading.
func acceptor(fd int) (string, error) {
	accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if errors.Is(err, unix.ENOTSOCK) {
		return "", nil // the number was used again between the link and the copy
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

// takesDatagrams reports whether a datagram socket has an address for peers to send to.
// An address of the internet counts only with SO_REUSEADDR: without it, the kernel may
// have chosen the port for what the socket sends.
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
		return a.Name != "" && a.Name != "@" // Go shows no address as "@"
	case *unix.SockaddrVM:
		return true
	}
	return false
}

func reusesAddress(fd int) bool {
	reuses, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	return err == nil && reuses != 0
}

// describe names a socket for messages. The process chooses its address, so it is quoted
// and bounded.
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
