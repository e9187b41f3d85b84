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

// In its `grace` time a worker says that it is stopping, and accepts connections as
// before. It stays current, whatever kind of listener is the only one that it has.
func TestWorkerInItsGraceIsCurrent(t *testing.T) {
	t.Parallel()
	sampleReleases(t, func(t *testing.T, release string) {
		h := haproxytest.Start(t, haproxytest.Config{Release: release})
		var addr string
		if err := haproxytest.FreeAddrs(&addr); err != nil {
			t.Fatal(err)
		}
		listeners := map[string]string{
			"Unix": "frontend f\n    bind unix@" + h.Inside("f.sock") +
				"\n    default_backend b\n",
			"abstract": "frontend f\n    bind abns@" + filepath.Base(h.Dir) +
				"\n    default_backend b\n",
			"datagrams": "log-forward f\n    dgram-bind " + addr + "\n    log 127.0.0.1:9 local0\n",
		}
		if h.Built("QUIC") {
			listeners["QUIC"] = "frontend f\n    mode http\n    bind quic4@" + addr + " ssl crt " +
				h.Inside("site.pem") + "\n    http-request return status 200\n"
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
		inItsGrace(t, h,
			"frontend f\n    bind 127.0.0.1:80 namespace "+netns(t)+"\n    default_backend b\n")
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
	config := "global\n    grace 1h\n" + limited +
		"defaults\n    mode tcp\n    timeout connect 1s\n    timeout client 1h\n    timeout " +
		"server 1h\n" +
		listener + "backend b\n    server s 127.0.0.1:9\n"
	if err := os.WriteFile(filepath.Join(h.Dir, "haproxy.cfg"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	before := h.Children()
	h.SignalReload()
	in := scan(t, s, h, "the only worker serves", func(in Instance) bool {
		return slices.Equal(states(in), []State{StateCurrent}) && !slices.Contains(before,
			in.Workers[0].PID)
	})
	h.WriteConfig("")
	h.SignalReload()
	old := in.Workers[0].ID
	in = scan(t, s, h, "its successor serves, and it is stopping", func(in Instance) bool {
		return slices.Equal(states(in), []State{StateCurrent, StateCurrent}) &&
			in.Workers[0].ID == old &&
			h.Ask(fmt.Sprintf("@!%d show info", old.PID), "\nStopping: 1\n")
	})
	w := in.Workers[0]
	t.Log(w.Why)
	w.State, w.proven = StateStopping, StateStopping // not even a wrong proof lets it be touched
	if p, err := s.Recheck(t.Context(), w); !errors.Is(err, ErrNotStopping) {
		t.Errorf("Recheck in its grace: %v, %v, want ErrNotStopping", p, err)
	}
	if err := syscall.Kill(old.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	scan(t, s, h, "it is gone", hasStates(StateCurrent))
}

// netns makes a network namespace and returns its name.
func netns(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name := fmt.Sprintf("hapressure-test-%d", os.Getpid())
	at := filepath.Join("/var/run/netns", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, nil,
		0o600)); err != nil {
		t.Fatal(err)
	}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), at, "",
				unix.MS_BIND, "")
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
	t.Parallel()
	h := haproxytest.Start(t, haproxytest.Config{Global: "grace 1s"})
	h.Tunnel()
	h.SignalReload()
	scan(t, NewScanner("/proc"), h, "it is stopping", hasStates(StateStopping, StateCurrent))
}

// None of the sockets that a stopping worker keeps is taken for one that accepts.
func TestSocketsOfAStoppingWorker(t *testing.T) {
	t.Parallel()
	sampleReleases(t, func(t *testing.T, release string) {
		addr, file := inherited(t)
		var addrs [3]string
		if err := haproxytest.FreeAddrs(&addrs[0], &addrs[1], &addrs[2]); err != nil {
			t.Fatal(err)
		}
		conf := haproxytest.Config{Release: release, Files: []*os.File{file},
			Global: "stats socket abns@" + t.Name() + "-" + addrs[0] +
				" level admin expose-fd listeners\n    log 127.0.0.1:9 local0\n    localpeer here",
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
		scan(t, NewScanner("/proc"), h, "it is stopping", hasStates(StateStopping, StateCurrent))
	})
}
