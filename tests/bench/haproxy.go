package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"hapressure/tests/haproxytest"
)

// patience is how long an event may take that must come: a worker fills 16 GiB before
// it serves.
const patience = 3 * time.Minute

// answerTime is how long one question to the master's CLI may take. A master that loads
// may leave one unanswered.
const answerTime = 10 * time.Second

// server is a HAProxy in master-worker mode with a TLS front and an echo server behind
// it.
type server struct {
	program  string
	dir      string
	addr     string // of the TLS front
	pidAddr  string // answers HTTP requests with the pid of the worker
	sections string // further sections of the configuration
	group    string // cgroup of its own, if it has one
	echo     net.Listener
	cmd      *exec.Cmd
	exited   chan struct{}
	asking   sync.Mutex // for the connection to the master's CLI
}

// start runs the host's HAProxy with a session cache of this many blocks, and waits
// until it serves.
func start(ctx context.Context, blocks int) (*server, error) {
	return startProgram(ctx, "haproxy", blocks)
}

// startProgram does so with another HAProxy; via, if given, is a command that becomes it.
func startProgram(
	ctx context.Context, program string, blocks int, via ...string,
) (*server, error) {
	dir, err := os.MkdirTemp("", "hapressure-bench-")
	if err != nil {
		return nil, err
	}
	s := &server{program: program, dir: dir, exited: make(chan struct{})}
	if err := haproxytest.FreeAddrs(&s.addr, &s.pidAddr); err != nil {
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
	args := append(via, s.program, "-W", "-n", "4000", "-S", s.file("master.sock"), "-f",
		s.file("haproxy.cfg"))
	s.cmd = exec.Command(args[0], args[1:]...)
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
	if s.group != "" {
		os.Remove(s.group)
	}
}

func (s *server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *server) master() int { return s.cmd.Process.Pid }

func (s *server) configure(blocks int) error {
	return os.WriteFile(s.file("haproxy.cfg"), fmt.Appendf(nil, `global
    nbthread 2
    mworker-max-reloads 100000
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
frontend pid
    mode http
    bind %s
    http-request return status 200 content-type text/plain lf-string %%pid
%s`, blocks, s.addr, s.file("site.pem"), s.echo.Addr(), s.pidAddr, s.sections), 0o600)
}

// reload starts a new generation with a cache of this many blocks, waits until it
// serves, and returns its worker's pid.
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

// newWorker waits until a worker serves that is not among before, and returns its pid.
// That the master answers after that shows that it waits for the next signal.
func (s *server) newWorker(ctx context.Context, before []int) (int, error) {
	pid, err := s.serving(ctx, before)
	if err != nil {
		return 0, err
	}
	return pid, s.wait(ctx, "the master answers", func() (bool, error) { return s.answers(), nil })
}

// serving waits until a worker serves that is not among before, and returns its pid. It
// does not use the master's CLI.
func (s *server) serving(ctx context.Context, before []int) (pid int, err error) {
	return pid, s.wait(ctx, "a new worker serves", func() (bool, error) {
		var ok bool
		pid, ok = s.answering()
		return ok && !slices.Contains(before, pid), nil
	})
}

// answering returns the pid of the worker that takes a new connection; ok is false if
// none does.
func (s *server) answering() (pid int, ok bool) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get("http://" + s.pidAddr)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	_, err = fmt.Fscan(resp.Body, &pid)
	return pid, err == nil
}

// says reports whether this worker's `show info` has this line.
func (s *server) says(pid int, line string) bool {
	return strings.Contains(s.ask(fmt.Sprintf("@!%d show info", pid)), "\n"+line+"\n")
}

// answers reports whether the master's CLI answers. It is asked for its version: with
// some 190 workers 2.6 does not answer `show proc` any more.
func (s *server) answers() bool { return s.ask("show version") != "" }

// ask sends a command to the master's CLI, and returns the answer, or "" if there is
// none. There is one such connection at a time.
func (s *server) ask(command string) string {
	s.asking.Lock()
	defer s.asking.Unlock()
	c, err := net.DialTimeout("unix", s.file("master.sock"), patience)
	if err != nil {
		return "" // it is loading
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(answerTime))
	fmt.Fprintln(c, command)
	first := make([]byte, 1)
	if _, err := c.Read(first); err != nil {
		return ""
	}
	// not before: a half-close that comes with the command can be lost, and the slot
	// with it
	c.(*net.UnixConn).CloseWrite()
	rest, _ := io.ReadAll(c)
	return string(first) + string(rest)
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
			return fmt.Errorf("waiting until %s: HAProxy has ended: %w\n%s", what,
				errors.ErrUnsupported, log)
		case <-tick.C:
		}
	}
}

// openTunnel opens a connection to the generation that serves now, which keeps its
// worker alive until it is closed.
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
