package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
	"hapressure/tests/haproxytest"
)

// own returns the ID of a process.
func own(t *testing.T, pid int) proc.ID {
	t.Helper()
	p, err := proc.Open("/proc", proc.ID{PID: pid})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	return p.ID
}

// serveCLI serves the other end of a socket pair as a worker would, and returns what
// leads there. This process is the master.
func serveCLI(t *testing.T, serve func(net.Conn)) *Client {
	t.Helper()
	number := haproxytest.ServedPair(t, serve)
	me := own(t, os.Getpid())
	return &Client{pair: pair{procfs: "/proc", worker: me, nspid: me.PID, master: me,
		uid: uint32(os.Geteuid()), masterReads: proc.NewTurnstile(), number: number},
		Timeout: answerTime}
}

func endless(w io.Writer, what string, pause time.Duration) {
	for {
		if _, err := io.WriteString(w, what); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

func TestHostileAnswers(t *testing.T) {
	big := strings.Repeat("\x1b[2J\a", 30_000)
	tests := []struct {
		name  string
		serve func(net.Conn)
		want  error // nil = it cannot be understood
	}{
		{"endless", func(c net.Conn) { endless(c, strings.Repeat("Pid: 1\n", 1000), 0) },
			errTooLong},
		{"one byte at a time", func(c net.Conn) { endless(c, "P", 10*time.Millisecond) },
			os.ErrDeadlineExceeded},
		{"silent", func(net.Conn) { <-t.Context().Done() }, os.ErrDeadlineExceeded},
		{"one line", func(c net.Conn) { io.WriteString(c, big) }, nil},
		{"another worker's pid", func(c net.Conn) {
			io.WriteString(c, strings.Replace(showInfo26,
				"3831", "1", 1))
		}, nil},
		{"a huge pid", func(c net.Conn) { io.WriteString(c, "Pid: "+strings.Repeat("9", 40)+"\n") },
			nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serveCLI(t, tt.serve)
			answer, err := c.ask(t.Context(), "show info", maxShort)
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if len(answer) > maxShort+1 {
				t.Errorf("%d bytes were read", len(answer))
			}
			if err == nil {
				_, err = c.Info(t.Context())
			}
			haproxytest.Printable(t, err)
		})
	}
	t.Run("show info and show sess", func(t *testing.T) {
		_, err := parseInfo("Pid: " + big)
		haproxytest.Printable(t, err)
		_, err = parseSessions(big)
		haproxytest.Printable(t, err)
		_, err = parseSessions("0x" + big + ": x")
		haproxytest.Printable(t, err)
		haproxytest.Printable(t, shutdownError(big))
		haproxytest.Printable(t, shutdownError("Permission denied"+big))
	})
}

// A descriptor can arrive with an answer, and the kernel's close of it can take an hour.
// That holds for the process that closes the last copy. Now and then that is the sender:
// then the test starts again.
func TestDescriptorThatTakesAnHourToClose(t *testing.T) {
	for {
		f := slowToClose(t)
		sent, closed := make(chan error, 1), make(chan error, 1)
		c := serveCLI(t, func(conn net.Conn) {
			_, _, err := conn.(*net.UnixConn).WriteMsgUnix([]byte("x"),
				unix.UnixRights(int(f.Fd())), nil)
			sent <- err
			closed <- f.Close()
			<-t.Context().Done()
		})
		answered := make(chan error, 1)
		go func() {
			_, err := c.ask(t.Context(), "show info", maxShort)
			answered <- err
		}()
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-answered:
			haproxytest.Printable(t, err)
		case <-time.After(haproxytest.Deadline):
			t.Fatal("still waiting")
		}
		select {
		case err := <-closed:
			if err != nil {
				t.Error(err)
			}
			return
		case <-time.After(time.Second):
		}
	}
}

// slowToClose is a connection with unread data on its way, and an hour of SO_LINGER.
func slowToClose(t *testing.T) *os.File {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	tcp, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tcp.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	tcp.Write(make([]byte, 64<<20))
	f, err := tcp.(*net.TCPConn).File()
	if err := errors.Join(err, tcp.Close(), unix.SetsockoptLinger(int(f.Fd()), unix.SOL_SOCKET,
		unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3600})); err != nil {
		t.Fatal(err)
	}
	return f
}

// A worker that claims a million sessions would keep the drains of all others waiting.
func TestSessionsAreBounded(t *testing.T) {
	ids, err := parseSessions(strings.Repeat("0x1: x\n", 600_000))
	if err != nil || len(ids) != maxSessions {
		t.Errorf("%d sessions, %v, want %d", len(ids), err, maxSessions)
	}
}

// The number of a descriptor in a master's environment can be that of anything it has
// open.
func TestDescriptorThatIsNoPair(t *testing.T) {
	file := func(f *os.File, err error) *os.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	listener := func(network, addr string) *os.File {
		t.Helper()
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return file(l.(interface{ File() (*os.File, error) }).File())
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	end, other := file(os.NewFile(uintptr(ends[0]), "pair"), nil), file(os.NewFile(uintptr(ends[1]),
		"other"), nil)
	me := uint32(os.Geteuid())
	tests := []struct {
		name string
		fd   *os.File
		uid  uint32
		ok   bool
	}{
		{"a pair", end, me, true},
		{"another user's pair", end, me + 1, false},
		{"a device", file(os.OpenFile("/dev/null", os.O_RDWR, 0)), me, false},
		{"a listening Unix socket", listener("unix", filepath.Join(t.TempDir(), "s")), me, false},
		{"a listening TCP socket", listener("tcp", "127.0.0.1:0"), me, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("sleep", "1000")
			cmd.Env = []string{fmt.Sprintf("HAPROXY_PROCESSES=|type=w;fd=3;pid=%d|", os.Getpid())}
			cmd.ExtraFiles = []*os.File{tt.fd}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { cmd.Process.Kill(); cmd.Wait() }()
			// the kernel puts it there when execve(2) is as good as done
			haproxytest.Eventually(t, "its environment is there", func() error {
				b, err := proc.ReadFile("/proc", cmd.Process.Pid, "environ")
				if len(b) == 0 {
					return cmp.Or(err, errors.New("it is empty"))
				}
				return err
			})
			c := &pair{procfs: "/proc", worker: own(t, os.Getpid()), nspid: os.Getpid(),
				master: own(t, cmd.Process.Pid), uid: tt.uid, masterReads: proc.NewTurnstile()}
			conn, err := c.dial(t.Context())
			if (err == nil) != tt.ok {
				t.Errorf("%v", err)
			}
			if err == nil {
				conn.Close()
			}
			unix.SetNonblock(int(other.Fd()), true)
			if n, _ := unix.Read(int(other.Fd()), make([]byte, 8)); (n > 0) != tt.ok {
				t.Errorf("%d bytes came through", n)
			}
		})
	}
}

// A worker that has not answered is asked again after ever longer times.
func TestSilentWorkerIsAskedLessAndLess(t *testing.T) {
	asked := make(chan struct{}, 100)
	answer := make(chan string, 1)
	c := serveCLI(t, func(conn net.Conn) {
		haproxytest.Command(conn)
		asked <- struct{}{}
		io.WriteString(conn, <-answer)
	})
	c.Timeout = 200 * time.Millisecond
	if _, err := c.ask(t.Context(), "show info", maxShort); !errors.Is(err,
		os.ErrDeadlineExceeded) {
		t.Fatalf("%v, want no answer in time", err)
	}
	<-asked
	if _, err := c.ask(t.Context(), "show info", maxShort); !errors.Is(err, errSilent) ||
		!strings.Contains(err.Error(), "again in 5s") {
		t.Errorf("%v, want errSilent", err)
	}
	now := time.Now()
	for _, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
		c.learn(now, errSilent)
		if got := c.next.Sub(now); got != want {
			t.Errorf("asked again after %v, want %v", got, want)
		}
	}
	for range 20 {
		c.learn(now, errSilent)
	}
	if got := c.next.Sub(now); got != retryMost {
		t.Errorf("asked again after %v, want %v", got, retryMost)
	}
	c.next = time.Time{}
	answer <- "first"
	answer <- "second"
	c.Timeout = haproxytest.Deadline
	if got, err := c.ask(t.Context(), "show info", maxShort); err != nil || got != "second" {
		t.Errorf("%q, %v", got, err)
	}
	if err := c.mayAsk(now); err != nil || c.retry != 0 {
		t.Errorf("after an answer: %v, %v", err, c.retry)
	}
	if len(asked) != 1 {
		t.Errorf("%d more questions, want 1", len(asked))
	}
}

// A process can make its environment as long as it wants.
func TestEndlessEnvironment(t *testing.T) {
	note := []byte("HAPROXY_PROCESSES=" + strings.Repeat("|type=w;fd=3;pid=1", proc.FileLimit/18))
	if n := len(parseProcesses(note)); n != 1 {
		t.Errorf("%d workers", n)
	}
}
