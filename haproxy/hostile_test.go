package haproxy

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"hapressure/tests/haproxytest"
)

// What docs/threat-model.md claims of workers that somebody has taken over, and of whoever calls itself haproxy.

// mayBeTold makes sure of an error that may go to the journal and to a terminal, whoever had a part in its text.
func mayBeTold(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	text := strings.ReplaceAll(err.Error(), "\n", "")
	if len(text) > 1000 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%d bytes: %.300q", len(text), text)
	}
}

// serveCLI serves the other end of a socket pair as a worker would, and returns what leads there. This process is the master.
func serveCLI(t *testing.T, serve func(net.Conn)) *cli {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	pair, worker := os.NewFile(uintptr(ends[0]), "pair"), os.NewFile(uintptr(ends[1]), "worker")
	conn, err := net.FileConn(worker)
	if err := errors.Join(err, worker.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pair.Close(); conn.Close() })
	go servePair(conn, serve)
	me := open(t, os.Getpid()).ID
	return &cli{procfs: "/proc", worker: me, nspid: me.PID, master: me, uid: uint32(os.Geteuid()),
		masterReads: newTurnstile(), timeout: answerTime, pair: ends[0]}
}

// servePair serves each connection that comes over a socket pair, until the pair is closed.
func servePair(pair net.Conn, serve func(net.Conn)) {
	for {
		b, oob := make([]byte, 2), make([]byte, 64)
		_, n, _, _, err := pair.(*net.UnixConn).ReadMsgUnix(b, oob)
		if err != nil {
			return
		}
		messages, _ := unix.ParseSocketControlMessage(oob[:n])
		for _, m := range messages {
			fds, _ := unix.ParseUnixRights(&m)
			for _, fd := range fds {
				f := os.NewFile(uintptr(fd), "connection")
				c, err := net.FileConn(f)
				f.Close()
				if err == nil {
					go func() { defer c.Close(); serve(c) }()
				}
			}
		}
	}
}

// command reads the command that a client of a CLI sends.
func command(conn net.Conn) string {
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
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
		{"endless", func(c net.Conn) { endless(c, strings.Repeat("Pid: 1\n", 1000), 0) }, errTooLong},
		{"one byte at a time", func(c net.Conn) { endless(c, "P", 10*time.Millisecond) }, os.ErrDeadlineExceeded},
		{"silent", func(net.Conn) { <-t.Context().Done() }, os.ErrDeadlineExceeded},
		{"one line", func(c net.Conn) { io.WriteString(c, big) }, nil},
		{"another worker's pid", func(c net.Conn) { io.WriteString(c, strings.Replace(showInfo26, "3831", "1", 1)) }, nil},
		{"a huge pid", func(c net.Conn) { io.WriteString(c, "Pid: "+strings.Repeat("9", 40)+"\n") }, nil},
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
				_, err = c.showInfo(t.Context())
			}
			mayBeTold(t, err)
		})
	}
	t.Run("show info and show sess", func(t *testing.T) {
		_, err := ParseShowInfo("Pid: " + big)
		mayBeTold(t, err)
		_, err = ParseShowSess(big)
		mayBeTold(t, err)
		_, err = ParseShowSess("0x" + big + ": x")
		mayBeTold(t, err)
		mayBeTold(t, shutdownError(big))
		mayBeTold(t, shutdownError("Permission denied"+big))
	})
}

// With an answer can come a descriptor whose closing, which the kernel does for us, takes an hour: it does so to whoever closes the last. Now and
// then that is the sender, and then it is tried again.
func TestDescriptorThatTakesAnHourToClose(t *testing.T) {
	for {
		f := slowToClose(t)
		sent, closed := make(chan error, 1), make(chan error, 1)
		c := serveCLI(t, func(conn net.Conn) {
			_, _, err := conn.(*net.UnixConn).WriteMsgUnix([]byte("x"), unix.UnixRights(int(f.Fd())), nil)
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
			mayBeTold(t, err)
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

// slowToClose is a connection with data on its way that nobody reads, and an hour's patience.
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
	if err := errors.Join(err, tcp.Close(), unix.SetsockoptLinger(int(f.Fd()), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3600})); err != nil {
		t.Fatal(err)
	}
	return f
}

// A worker that claims a million sessions would keep the drains of all others waiting.
func TestSessionsAreBounded(t *testing.T) {
	ids, err := ParseShowSess(strings.Repeat("0x1: x\n", 600_000))
	if err != nil || len(ids) != maxSessions {
		t.Errorf("%d sessions, %v, want %d", len(ids), err, maxSessions)
	}
}

// The number of a descriptor in a master's environment can be that of anything it has open.
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
	pair, other := file(os.NewFile(uintptr(ends[0]), "pair"), nil), file(os.NewFile(uintptr(ends[1]), "other"), nil)
	me := uint32(os.Geteuid())
	tests := []struct {
		name string
		fd   *os.File
		uid  uint32
		ok   bool
	}{
		{"a pair", pair, me, true},
		{"another user's pair", pair, me + 1, false},
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
			haproxytest.Eventually(t, "its environment is there", func() error { // the kernel puts it there when execve(2) is as good as done
				b, err := readProcFile("/proc", cmd.Process.Pid, "environ")
				if len(b) == 0 {
					return cmp.Or(err, errors.New("it is empty"))
				}
				return err
			})
			c := &cli{procfs: "/proc", worker: open(t, os.Getpid()).ID, nspid: os.Getpid(), master: open(t, cmd.Process.Pid).ID,
				uid: tt.uid, masterReads: newTurnstile()}
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

// What the kernel tells of a process can be as long as the process wants.
func TestEndlessFilesOfProc(t *testing.T) {
	line := "7f16ba536000-7f16bbcdd000 rw-s 00000000 00:01 1024 /dev/zero (deleted)\n"
	_, err := parseMaps(strings.NewReader(strings.Repeat(line, mapsMost+1)), anyMapping)
	mayBeTold(t, err)
	_, err = parseMaps(strings.NewReader(strings.Repeat("\x1b", 10_000)+"\n"), anyMapping)
	mayBeTold(t, err)
	note := []byte("HAPROXY_PROCESSES=" + strings.Repeat("|type=w;fd=3;pid=1", procLimit/18))
	if n := len(parseProcesses(note)); n != 1 {
		t.Errorf("%d workers", n)
	}
}

// A process can call any of its memory its command line.
func TestCommandLineAsLongAsMemory(t *testing.T) {
	p := startLookalike(t, "private")
	p.tell("long command line")
	b, err := readProcFile("/proc", p.PID, "cmdline")
	if err != nil || len(b) != procLimit {
		t.Errorf("%d bytes, %v, want %d", len(b), err, procLimit)
	}
}

// A worker makes a reload look larger than it is if memory mapped twice counts twice.
func TestMemoryMappedTwiceCountsOnce(t *testing.T) {
	p := startLookalike(t, "shared")
	before, err := p.sharedMemory()
	if err != nil || before == 0 {
		t.Fatalf("%d, %v", before, err)
	}
	p.tell("map it again")
	if shared, err := p.SharedMappings(); err != nil || len(shared) != 2 {
		t.Fatalf("%+v, %v, want two mappings", shared, err)
	}
	if after, err := p.sharedMemory(); err != nil || after != before {
		t.Errorf("%d, %v, want %d as before", after, err, before)
	}
}

// A process that shares all memory (CLONE_VM) is no thread: /proc/PID/task does not show it, and ptrace does not stop it with the others.
func TestProcessInTheSameMemoryIsRefused(t *testing.T) {
	p := startLookalike(t, "shared")
	p.tell("vfork")
	var child int
	for end := time.Now().Add(haproxytest.Deadline); child == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		tids, err := p.threads()
		if err != nil {
			t.Fatal(err)
		}
		for _, tid := range tids {
			b, _ := os.ReadFile(p.path(fmt.Sprintf("task/%d/children", tid)))
			fmt.Sscan(string(b), &child)
		}
	}
	if child == 0 {
		t.Fatal("no process was made")
	}
	t.Cleanup(func() { syscall.Kill(child, syscall.SIGKILL) })
	before := sharedSums(t, p.Process)
	if _, err := p.PurgeSSLCache(t.Context(), []int{p.PID, child}); !errors.Is(err, ErrManyOwners) {
		t.Errorf("%v, want refusal %q", err, ErrManyOwners)
	}
	// One that is not asked for, in another cgroup, say: the thread that waits for it cannot be stopped.
	if _, err := p.PurgeSSLCache(t.Context(), []int{p.PID}); !errors.Is(err, ErrCannotStop) {
		t.Errorf("%v, want refusal %q", err, ErrCannotStop)
	}
	if !maps.Equal(before, sharedSums(t, p.Process)) {
		t.Error("its shared memory was written")
	}
}

// In a pid namespace of its own a worker's child can have the number of any other worker.
func TestWorkerInAPidNamespaceOfItsOwn(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	p := startLookalikeAs(t, cmd, "shared")
	found, err := NewScanner("/proc").Scan(t.Context(), []int{os.Getpid(), p.PID})
	if err != nil || len(found) != 1 || len(found[0].Workers) != 1 {
		t.Fatalf("%+v, %v, want one worker", found, err)
	}
	if w := found[0].Workers[0]; w.State != Unknown || !strings.Contains(w.Why, "pid namespace") {
		t.Errorf("%v: %s", w.State, w.Why)
	}
}

// What was a worker can have become another program, set-user-ID even, with the same pid and start time.
func TestOtherProgramGetsNoSignal(t *testing.T) {
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sh, "-c", "read line; exec sleep 1000")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	w := Worker{ID: open(t, cmd.Process.Pid).ID, State: Stopping, exe: sh}
	p, err := NewScanner("/proc").Recheck(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	io.WriteString(in, "\n")
	for end := time.Now().Add(haproxytest.Deadline); p.sameProgram() == nil && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if _, err := p.Terminate(t.Context(), time.Minute); !errors.Is(err, ErrNotStopping) {
		t.Errorf("Terminate: %v, want ErrNotStopping", err)
	}
	if _, err := NewScanner("/proc").Recheck(t.Context(), w); !errors.Is(err, ErrNotStopping) {
		t.Errorf("Recheck: %v, want ErrNotStopping", err)
	}
	if !p.Alive() {
		t.Error("it was ended")
	}
}

// A fake master that lies as it likes, with a worker that has a perfect cache and says that it is stopping: what is done to it is done to
// it alone. The real HAProxy beside it, whose pids the liar claims, is left as it is.
func TestFakeHAProxyHarmsOnlyItself(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	real := open(t, h.Children()[0])
	before := sharedSums(t, real)
	fake := startLookalikeAs(t, exec.Command("/proc/self/exe"), "master")
	var pid, serving int
	h.Eventually("the fake has its workers", func() error {
		b, err := os.ReadFile(fake.path(fmt.Sprintf("task/%d/children", fake.PID)))
		if n, _ := fmt.Sscan(string(b), &pid, &serving); err == nil && n != 2 {
			err = fmt.Errorf("children %q", b)
		}
		return err
	})
	worker := open(t, pid)

	s := NewScanner("/proc")
	var mine []Worker
	h.Eventually("the fake is found and the real one serves", func() error {
		found, err := s.Scan(t.Context(), append(h.Pids(), fake.PID, worker.PID, serving, 1))
		if err != nil || len(found) != 2 {
			return fmt.Errorf("%+v, %v", found, err)
		}
		slices.SortFunc(found, func(a, b Instance) int { return map[bool]int{true: -1, false: 1}[a.Master.PID == fake.PID] })
		mine = found[0].Workers
		if !slices.Equal(states(found[1]), []State{Current}) || !slices.Equal(states(found[0]), []State{Stopping, Current}) {
			return fmt.Errorf("%+v", found)
		}
		return nil
	})
	p, err := s.Recheck(t.Context(), mine[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.PID != worker.PID {
		t.Fatalf("worker %d is acted on, not %d", p.PID, worker.PID)
	}
	done, err := purge(t.Context(), p, append(h.Pids(), fake.PID))
	if err != nil || done.After != pageSize {
		t.Errorf("purge: %+v, %v", done, err)
	}
	// It claims sessions of the real one. To shut them down it is asked itself.
	if d, err := Drain(t.Context(), mine[0], p, Pace{}); err != nil || d.Sessions == 0 {
		t.Errorf("drain: %+v, %v", d, err)
	}
	if _, err := p.Terminate(t.Context(), time.Minute); err != nil || worker.Alive() {
		t.Errorf("terminate: %v", err)
	}
	if !real.Alive() || !maps.Equal(before, sharedSums(t, real)) {
		t.Error("the real worker was touched")
	}
}

// fakeMaster has a worker that claims to be stopping, and one that serves. As a master does, it notes its workers in its
// environment and executes itself anew.
func fakeMaster() error {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	var pids []int
	for _, kind := range []string{"shared", "serving"} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env, cmd.Stdin = append(os.Environ(), "HAPRESSURE_LOOKALIKE="+kind), os.Stdin
		out, err := cmd.StdoutPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, out, int64(len("ready\n"))); err != nil {
			return err
		}
		pids = append(pids, cmd.Process.Pid)
	}
	note := fmt.Sprintf("|type=w;fd=%d;cfd=%d;pid=%d|type=w;fd=%[1]d;pid=1", ends[0], ends[1], pids[0])
	if err := errors.Join(os.Setenv("HAPRESSURE_LOOKALIKE", "master again"), os.Setenv("HAPROXY_PROCESSES", note)); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}

// fakeMasterAgain answers in the name of its worker, which its environment has.
func fakeMasterAgain() error {
	var fd, cfd, pid int
	if _, err := fmt.Sscanf(os.Getenv("HAPROXY_PROCESSES"), "|type=w;fd=%d;cfd=%d;pid=%d|", &fd, &cfd, &pid); err != nil {
		return err
	}
	sessions := "0x1: fe=f\n0xffffffffffffffff: fe=f\n"
	worker, err := net.FileConn(os.NewFile(uintptr(cfd), "worker"))
	if err != nil {
		return err
	}
	go servePair(worker, func(conn net.Conn) {
		switch command(conn) {
		case "show info":
			fmt.Fprintf(conn, "Pid: %d\nCurrConns: -5\nStopping: 1\nListeners: 1\nUnstoppable Jobs: 1\n", pid)
		case "show sess":
			io.WriteString(conn, sessions+"\n")
			sessions = ""
		}
	})
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// serving accepts connections and waits for events, as a worker that serves does.
func serving() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go l.Accept()
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// Links in the file system of a container lead nowhere else.
func TestLinksLeadNowhereElse(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	secret := filepath.Join(dir, "secret")
	if err := errors.Join(os.WriteFile(secret, []byte("hard-stop-after 1s\n"), 0o600), os.Mkdir(root, 0o755),
		os.Symlink(secret, root+"/absolute"), os.Symlink("../secret", root+"/up"), os.Symlink("../../../../../.."+secret, root+"/far")); err != nil {
		t.Fatal(err)
	}
	p := startLookalike(t, "chroot "+root)
	for _, name := range []string{"/absolute", "/up", "/far", "../secret", "up"} {
		if f, err := openAs("/proc", p.PID, name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, %v, want nothing there", name, f, err)
		}
	}
}

// The configuration of a fake master can be any file that there is.
func TestConfigurationThatIsNone(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(unix.Mkfifo(at("fifo"), 0o600),
		unix.Mknod(at("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(240, 99))), // no such driver: to open it is an error
		os.Mkdir(at("loop"), 0o755), os.Symlink(".", at("loop/a.cfg")), os.Symlink(".", at("loop/b.cfg")), os.Symlink("/", at("loop/c.cfg")),
		os.Mkdir(at("empty"), 0o755), os.WriteFile(at("huge"), nil, 0o600), os.Truncate(at("huge"), 1<<40)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{"X=\nhard-stop-after 1s\n"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	for name, want := range map[string]string{
		at("fifo"): "neither a file nor a directory", at("device"): "neither a file nor a directory",
		at("loop"): "", at("empty"): "", fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid): "", at("huge"): "too long", at("\x1b[2J\n"): "no such file",
	} {
		c := config{procfs: "/proc", pid: os.Getpid(), left: configLimit}
		err := c.read(name, false)
		switch {
		case c.set:
			t.Errorf("%q: hard-stop-after is %v", name, c.hardStopAfter)
		case want == "" && err != nil:
			t.Errorf("%q: %v", name, err)
		case want != "":
			if mayBeTold(t, err); !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", name, err, want)
			}
		}
	}
}

// A worker that exits closes its CLI some time before it is gone. That is a drain's end, not its failure.
func TestWorkerThatExitsWhileItIsDrained(t *testing.T) {
	c := serveCLI(t, func(conn net.Conn) {
		command(conn) // and the connection is closed
	})
	worker := exec.Command("sleep", "1")
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { worker.Wait() })
	p := open(t, worker.Process.Pid)
	if d, err := Drain(t.Context(), Worker{ID: p.ID, cli: c}, p, Pace{}); err != nil || d.Left {
		t.Errorf("drain: %+v, %v", d, err)
	}
}
