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

// peer is who was at the other end of a Unix socket when the connection was made, as the kernel tells it (unix(7), SO_PEERCRED).
type peer struct {
	uid    int
	groups []uint32 // its group and supplementary groups
}

type peerKey struct{} // of a request's context

// A peer is the address of its connection: that is how it gets through to the handlers.
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

// Accept closes connections whose peer is not to be known, and those of a user who has maxOfUser.
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

// count counts a connection of a user that is made or ends. One too many is not counted.
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
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
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

var lookupGroup = user.LookupGroup // a variable for tests

// allowed tells whether the peer is root, our own user, or a member of Group.
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
