package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"hapressure/tests/haproxytest"
)

// patience is how long an event may take that must come: a worker fills 16 GiB before it serves.
const patience = 3 * time.Minute

// server is a HAProxy in master-worker mode with a TLS front and an echo server behind it.
type server struct {
	dir, addr string
	echo      net.Listener
	cmd       *exec.Cmd
	exited    chan struct{}
}

// start runs a HAProxy whose session cache has this many blocks, and waits until it serves.
func start(ctx context.Context, blocks int) (*server, error) {
	dir, err := os.MkdirTemp("", "hapressure-bench-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, exited: make(chan struct{})}
	if err := haproxytest.FreeAddrs(&s.addr); err != nil {
		return nil, err
	}
	if err := haproxytest.WriteCert(s.file("site.pem")); err != nil {
		return nil, err
	}
	if s.echo, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go serveEcho(s.echo)
	if err := s.configure(blocks); err != nil {
		return nil, err
	}
	log, err := os.Create(s.file("log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command("haproxy", "-W", "-n", "4000", "-S", s.file("master.sock"), "-f", s.file("haproxy.cfg"))
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.cmd.Wait(); close(s.exited) }()
	if _, err := s.newWorker(ctx, nil); err != nil {
		s.stop()
		return nil, fmt.Errorf("starting HAProxy: %w", err)
	}
	return s, nil
}

func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.cmd.Process.Kill()
	}
	s.echo.Close()
	os.RemoveAll(s.dir)
}

func (s *server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *server) master() int { return s.cmd.Process.Pid }

func (s *server) configure(blocks int) error {
	return os.WriteFile(s.file("haproxy.cfg"), fmt.Appendf(nil, `global
    nbthread 2
    tune.ssl.cachesize %d
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend tunnels
    bind %s ssl crt %s no-tls-tickets
    default_backend echo
backend echo
    server echo %s
`, blocks, s.addr, s.file("site.pem"), s.echo.Addr()), 0o600)
}

// reload starts a new generation with a cache of this many blocks, waits until it serves, and returns its worker's pid.
func (s *server) reload(ctx context.Context, blocks int) (int, error) {
	before, err := s.workers()
	if err != nil {
		return 0, err
	}
	if err := s.configure(blocks); err != nil {
		return 0, err
	}
	if err := s.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		return 0, fmt.Errorf("reloading: %w", err)
	}
	pid, err := s.newWorker(ctx, before)
	if err != nil {
		return 0, fmt.Errorf("reloading: %w", err)
	}
	return pid, nil
}

// newWorker waits for a worker that is not among before and serves, and returns its pid. That the master answers for it shows that
// the master waits for the next signal.
func (s *server) newWorker(ctx context.Context, before []int) (pid int, err error) {
	return pid, s.wait(ctx, "a new worker serves", func() (bool, error) {
		now, err := s.workers()
		if err != nil {
			return false, err
		}
		for _, pid = range now {
			if !slices.Contains(before, pid) && s.says(pid, "Stopping: 0") {
				return true, nil
			}
		}
		return false, nil
	})
}

// says reports whether this worker's `show info` has this line.
func (s *server) says(pid int, line string) bool {
	c, err := net.DialTimeout("unix", s.file("master.sock"), patience)
	if err != nil {
		return false // it is loading
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "@!%d show info\n", pid)
	c.(*net.UnixConn).CloseWrite()
	answer, _ := io.ReadAll(c)
	return strings.Contains(string(answer), "\n"+line+"\n")
}

// workers lists the pids of the master's children, the oldest first.
func (s *server) workers() ([]int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.master()))
	if err != nil {
		return nil, fmt.Errorf("listing the workers: %w", err)
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		var pid int
		if _, err := fmt.Sscan(f, &pid); err != nil {
			return nil, fmt.Errorf("listing the workers: %w", err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// pids lists the master and its workers.
func (s *server) pids() ([]int, error) {
	workers, err := s.workers()
	return append(workers, s.master()), err
}

// wait asks until the answer is yes.
func (s *server) wait(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := done()
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		case <-s.exited:
			log, _ := os.ReadFile(s.file("log"))
			return fmt.Errorf("waiting until %s: HAProxy has ended: %w\n%s", what, errors.ErrUnsupported, log)
		case <-tick.C:
		}
	}
}

// openTunnel opens a connection to the generation that serves now, which keeps its worker alive until it is closed.
func (s *server) openTunnel() (net.Conn, error) {
	c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, fmt.Errorf("opening a tunnel: %w", err)
	}
	return c, haproxytest.Echo(c)
}

func serveEcho(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { io.Copy(c, c); c.Close() }()
	}
}
