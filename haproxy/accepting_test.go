package haproxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hapressure/tests/haproxytest"
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
	path := func() *unix.SockaddrUnix { return &unix.SockaddrUnix{Name: filepath.Join(t.TempDir(), "s")} }
	bound := func(family, kind int, at unix.Sockaddr) int {
		t.Helper()
		fd := socket(family, kind)
		return must(fd, unix.Bind(fd, at))
	}
	listens := func(fd int) int { return must(fd, unix.Listen(fd, 1)) }
	reuses := func(fd int) int { return must(fd, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)) }
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
		"TCP":                            {listens(bound(unix.AF_INET, unix.SOCK_STREAM, local)), "127.0.0.1:"},
		"TCP over IPv6":                  {listens(bound(unix.AF_INET6, unix.SOCK_STREAM, &unix.SockaddrInet6{})), "[::]:"},
		"Unix":                           {listens(bound(unix.AF_UNIX, unix.SOCK_STREAM, path())), "\"/"},
		"abstract":                       {listens(bound(unix.AF_UNIX, unix.SOCK_STREAM, &unix.SockaddrUnix{Name: "@accepting-test"})), "\"@acc"},
		"Unix, of packets":               {listens(bound(unix.AF_UNIX, unix.SOCK_SEQPACKET, path())), "\"/"},
		"UDP":                            {reuses(bound(unix.AF_INET, unix.SOCK_DGRAM, local)), "127.0.0.1:"},
		"UDP over IPv6":                  {reuses(bound(unix.AF_INET6, unix.SOCK_DGRAM, &unix.SockaddrInet6{})), "[::]:"},
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
		if unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: unix.VMADDR_PORT_ANY}) == nil && unix.Listen(fd, 1) == nil {
			if got, err := acceptor(fd); err != nil || got == "" {
				t.Errorf("vsock: %q, %v", got, err)
			}
		}
	}
}

// In its `grace` time a worker says that it is stopping, and accepts connections as before. It stays current, whatever kind of listener
// is the only one that it has.
func TestWorkerInItsGraceIsCurrent(t *testing.T) {
	everyRelease(t, func(t *testing.T, release string) {
		h := haproxytest.Start(t, haproxytest.Config{Release: release})
		var addr string
		if err := haproxytest.FreeAddrs(&addr); err != nil {
			t.Fatal(err)
		}
		listeners := map[string]string{
			"Unix":      "frontend f\n    bind unix@" + h.Inside("f.sock") + "\n    default_backend b\n",
			"abstract":  "frontend f\n    bind abns@" + filepath.Base(h.Dir) + "\n    default_backend b\n",
			"datagrams": "log-forward f\n    dgram-bind " + addr + "\n    log 127.0.0.1:9 local0\n",
		}
		if h.Built("QUIC") {
			listeners["QUIC"] = "frontend f\n    mode http\n    bind quic4@" + addr + " ssl crt " + h.Inside("site.pem") + "\n    http-request return status 200\n"
		}
		for name, listener := range listeners {
			t.Run(name, func(t *testing.T) { inItsGrace(t, h, listener) })
		}
		t.Run("inherited", func(t *testing.T) {
			_, file := inherited(t)
			h := haproxytest.Start(t, haproxytest.Config{Release: release, Files: []*os.File{file}})
			inItsGrace(t, h, "frontend f\n    bind fd@3\n    default_backend b\n")
		})
	})
	t.Run("namespace", func(t *testing.T) { // the host's HAProxy: the roots of others have no /proc
		h := haproxytest.Start(t, haproxytest.Config{})
		inItsGrace(t, h, "frontend f\n    bind 127.0.0.1:80 namespace "+netns(t)+"\n    default_backend b\n")
	})
}

// inherited makes a listener for a master to inherit, and returns its address.
func inherited(t *testing.T) (net.Addr, *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return l.Addr(), file
}

func inItsGrace(t *testing.T, h *haproxytest.HAProxy, listener string) {
	s := NewScanner("/proc")
	limited := ""
	if strings.Contains(listener, "quic4@") {
		limited = "    limited-quic\n"
	}
	config := "global\n    grace 1h\n" + limited + "defaults\n    mode tcp\n    timeout connect 1s\n    timeout client 1h\n    timeout server 1h\n" +
		listener + "backend b\n    server s 127.0.0.1:9\n"
	if err := os.WriteFile(filepath.Join(h.Dir, "haproxy.cfg"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	before := h.Children()
	h.SignalReload()
	in := scan(t, s, h, "the only worker serves", func(in Instance) bool {
		return slices.Equal(states(in), []State{Current}) && !slices.Contains(before, in.Workers[0].PID)
	})
	h.WriteConfig("")
	h.SignalReload()
	old := in.Workers[0].ID
	in = scan(t, s, h, "its successor serves, and it is stopping", func(in Instance) bool {
		return slices.Equal(states(in), []State{Current, Current}) && in.Workers[0].ID == old &&
			h.Ask(fmt.Sprintf("@!%d show info", old.PID), "\nStopping: 1\n")
	})
	w := in.Workers[0]
	t.Log(w.Why)
	w.State = Stopping // not even a wrong proof lets it be touched
	if p, err := s.Recheck(t.Context(), w); !errors.Is(err, ErrNotStopping) {
		t.Errorf("Recheck in its grace: %v, %v, want ErrNotStopping", p, err)
	}
	if err := syscall.Kill(old.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	scan(t, s, h, "it is gone", hasStates(Current))
}

// netns makes a network namespace and returns its name.
func netns(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name := fmt.Sprintf("hapressure-test-%d", os.Getpid())
	at := filepath.Join("/var/run/netns", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), at, "", unix.MS_BIND, "")
		}
		made <- err
	}()
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH); os.Remove(at) })
	if err := <-made; err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	return name
}

// Once its grace is over a worker is stopping.
func TestWorkerAfterItsGraceIsStopping(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{Global: "grace 1s"})
	h.Tunnel()
	h.SignalReload()
	scan(t, NewScanner("/proc"), h, "it is stopping", hasStates(Stopping, Current))
}

// None of the sockets that a stopping worker keeps is taken for one that accepts.
func TestSocketsOfAStoppingWorker(t *testing.T) {
	everyRelease(t, func(t *testing.T, release string) {
		addr, file := inherited(t)
		var addrs [3]string
		if err := haproxytest.FreeAddrs(&addrs[0], &addrs[1], &addrs[2]); err != nil {
			t.Fatal(err)
		}
		conf := haproxytest.Config{Release: release, Files: []*os.File{file},
			Global: "stats socket abns@" + t.Name() + "-" + addrs[0] + " level admin expose-fd listeners\n    log 127.0.0.1:9 local0\n    localpeer here",
			Sections: "resolvers r\n    nameserver n 127.0.0.1:9\n" +
				"peers p\n    peer here " + addrs[0] + "\n    peer there " + addrs[1] + "\n" +
				"log-forward l\n    dgram-bind " + addrs[2] + "\n    log 127.0.0.1:9 local0\n" +
				"frontend i\n    log global\n    bind fd@3\n    default_backend checked\n" +
				"backend checked\n    server s localhost:9 check resolvers r\n"}
		h := haproxytest.Start(t, conf)
		h.Tunnel()
		if c, err := net.Dial("tcp", addr.String()); err == nil { // it leaves a log line
			c.Close()
		}
		h.SignalReload()
		scan(t, NewScanner("/proc"), h, "it is stopping", hasStates(Stopping, Current))
	})
}
