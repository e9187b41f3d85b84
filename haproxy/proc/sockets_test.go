package proc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Which sockets are taken for accepting, each a real one.
func TestAcceptor(t *testing.T) {
	socket := func(family, kind int) int {
		t.Helper()
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	must := func(fd int, errs ...error) int {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	local := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	discard := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9}
	path := func() *unix.SockaddrUnix {
		return &unix.SockaddrUnix{Name: filepath.Join(t.TempDir(),
			"s")}
	}
	bound := func(family, kind int, at unix.Sockaddr) int {
		t.Helper()
		fd := socket(family, kind)
		return must(fd, unix.Bind(fd, at))
	}
	listens := func(fd int) int { return must(fd, unix.Listen(fd, 1)) }
	reuses := func(fd int) int {
		return must(fd, unix.SetsockoptInt(fd, unix.SOL_SOCKET,
			unix.SO_REUSEADDR, 1))
	}
	connected := reuses(bound(unix.AF_INET, unix.SOCK_DGRAM, local))
	must(connected, unix.Connect(connected, discard))
	log := reuses(socket(unix.AF_INET, unix.SOCK_DGRAM))
	unix.Shutdown(log, unix.SHUT_RD) // as HAProxy does; it fails, and has its effect
	must(log, unix.Sendto(log, []byte("x"), 0, discard))
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(0, err)
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	file, err := os.Open("/dev/null")
	must(0, err)
	defer file.Close()
	for name, tt := range map[string]struct {
		fd   int
		want string // what its description begins with; "" = it does not accept
	}{
		"TCP": {listens(bound(unix.AF_INET, unix.SOCK_STREAM, local)),
			"127.0.0.1:"},
		"TCP over IPv6": {listens(bound(unix.AF_INET6, unix.SOCK_STREAM,
			&unix.SockaddrInet6{})), "[::]:"},
		"Unix": {listens(bound(unix.AF_UNIX, unix.SOCK_STREAM, path())),
			"\"/"},
		"abstract": {listens(bound(unix.AF_UNIX, unix.SOCK_STREAM,
			&unix.SockaddrUnix{Name: "@accepting-test"})), "\"@acc"},
		"Unix, of packets": {listens(bound(unix.AF_UNIX, unix.SOCK_SEQPACKET,
			path())), "\"/"},
		"UDP": {reuses(bound(unix.AF_INET, unix.SOCK_DGRAM, local)),
			"127.0.0.1:"},
		"UDP over IPv6": {reuses(bound(unix.AF_INET6, unix.SOCK_DGRAM,
			&unix.SockaddrInet6{})), "[::]:"},
		"UDP of a resolver":              {bound(unix.AF_INET, unix.SOCK_DGRAM, local), ""},
		"Unix datagrams":                 {bound(unix.AF_UNIX, unix.SOCK_DGRAM, path()), "\"/"},
		"TCP that does not listen":       {bound(unix.AF_INET, unix.SOCK_STREAM, local), ""},
		"UDP without an address":         {socket(unix.AF_INET, unix.SOCK_DGRAM), ""},
		"UDP that is connected":          {connected, ""},
		"UDP that log lines are sent by": {log, ""},
		"Unix datagrams without a name":  {socket(unix.AF_UNIX, unix.SOCK_DGRAM), ""},
		"a socket pair":                  {ends[0], ""},
		"netlink":                        {socket(unix.AF_NETLINK, unix.SOCK_DGRAM), ""},
		"no socket":                      {int(file.Fd()), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := acceptor(tt.fd)
			if err != nil || (got == "") != (tt.want == "") || !strings.HasPrefix(got, tt.want) {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
	if fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
		defer unix.Close(fd)
		if unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY,
			Port: unix.VMADDR_PORT_ANY}) == nil && unix.Listen(fd, 1) == nil {
			if got, err := acceptor(fd); err != nil || got == "" {
				t.Errorf("vsock: %q, %v", got, err)
			}
		}
	}
}
