package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Group is the group whose members may use the socket, besides root.
const Group = "hapressure"

// maxOfUser is how many connections a user may have, so that no user keeps others
// waiting.
const maxOfUser = 16

// peer is the user at the other end of a Unix socket when the connection was made, as the
// kernel reports it (unix(7), SO_PEERCRED).
type peer struct {
	uid    int
	groups []uint32 // its group and supplementary groups
}

type peerKey struct{} // of a request's context

// A peer is the address of its connection. By that the handlers receive it.
func (peer) Network() string  { return "unix" }
func (p peer) String() string { return fmt.Sprintf("user %d", p.uid) }

// peers is a listener whose connections know their peer.
type peers struct {
	*net.UnixListener
	mu   sync.Mutex
	open map[int]int // by user
}

type peerConn struct {
	*net.UnixConn
	peer
	gone func()
}

func (c peerConn) RemoteAddr() net.Addr { return c.peer }

func (c peerConn) Close() error {
	c.gone()
	return c.UnixConn.Close()
}

// Accept closes connections whose peer is unknown, and those of a user who has maxOfUser.
func (l *peers) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if p, err := peerOf(c); err == nil && l.count(p.uid, 1) {
			return peerConn{c, p, sync.OnceFunc(func() { l.count(p.uid, -1) })}, nil
		}
		c.Close()
	}
}

// count counts a connection of a user that begins or ends. It returns false, and does not
// count, if the user has too many.
func (l *peers) count(uid, change int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.open[uid] + change
	if n > maxOfUser {
		return false
	}
	if l.open[uid] = n; n == 0 {
		delete(l.open, uid)
	}
	return true
}

func peerOf(c *net.UnixConn) (p peer, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return p, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return
		}
		p.uid = int(cred.Uid)
		p.groups, err = peerGroups(fd)
		p.groups = append(p.groups, cred.Gid)
	})
	return p, errors.Join(err, cerr)
}

// maxGroups is NGROUPS_MAX of Linux.
const maxGroups = 65536

func peerGroups(fd uintptr) ([]uint32, error) {
	for n := 64; ; n = maxGroups {
		groups := make([]uint32, n)
		size := uint32(4 * n)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && n < maxGroups:
		case errno != 0:
			return nil, errno
		default:
			return groups[:size/4], nil
		}
	}
}

// limited is a listener with at most cap(slots) connections at a time. The kernel queues
// more.
type limited struct {
	net.Listener
	slots chan struct{}
}

func (l limited) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return limitedConn{c, sync.OnceFunc(func() { <-l.slots })}, nil
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

var lookupGroup = user.LookupGroup // a variable for tests

// allowed reports whether the peer is root, the user of this process, or a member of
// Group.
func (p peer) allowed() bool {
	if p.uid == 0 || p.uid == os.Geteuid() {
		return true
	}
	g, err := lookupGroup(Group)
	if err != nil {
		return false
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	return err == nil && slices.Contains(p.groups, uint32(gid))
}
