package haproxy

import (
	"bytes"
	"cmp"
	"context"
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

// serveCLI listens as a master would and returns what leads there.
func serveCLI(t *testing.T, serve func(net.Conn)) *cli {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); serve(conn) }()
		}
	}()
	return &cli{procfs: "/proc", master: open(t, os.Getpid()).ID, path: path, uid: uint32(os.Geteuid()), timeout: 500 * time.Millisecond}
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
		{"a worker called by it", func(c net.Conn) { io.WriteString(c, "#<PID> <type>\n"+big+" worker 0\n") }, nil},
		{"a negative pid", func(c net.Conn) { io.WriteString(c, "#<PID> <type>\n-4711 worker 0\n") }, nil},
		{"a huge pid", func(c net.Conn) { io.WriteString(c, "#<PID> <type>\n"+strings.Repeat("9", 40)+" worker 0\n") }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer, err := serveCLI(t, tt.serve).run(t.Context(), "show proc", maxShort)
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if len(answer) > maxShort+1 {
				t.Errorf("%d bytes were read", len(answer))
			}
			if err == nil {
				_, err = ParseShowProc(answer)
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
		c.timeout = 3 * time.Second
		answered := make(chan error, 1)
		go func() {
			_, err := c.run(t.Context(), "show proc", maxShort)
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

// We may connect anywhere. Who only calls itself a master must not make us speak to others in its stead.
func TestSocketOfAnotherUserIsNotSpokenTo(t *testing.T) {
	heard := make(chan []byte, 1)
	c := serveCLI(t, func(conn net.Conn) { b, _ := io.ReadAll(conn); heard <- b })
	c.uid++
	_, err := c.run(t.Context(), "show proc", maxShort)
	mayBeTold(t, err)
	if b := <-heard; len(b) > 0 {
		t.Errorf("it was told %q", b)
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
			c := &cli{procfs: "/proc", master: open(t, cmd.Process.Pid).ID, uid: tt.uid, timeout: time.Second}
			conn, err := c.dialWorker(open(t, os.Getpid()).ID, os.Getpid())
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
	sockets := io.MultiReader(strings.NewReader(tcp[:strings.Index(tcp, "\n")+1]), &counting{})
	mayBeTold(t, parseListening(sockets, map[uint64]bool{}))
}

// counting is a table of ever more listening sockets.
type counting struct {
	bytes.Buffer
	n int
}

func (c *counting) Read(b []byte) (int, error) {
	if c.Len() == 0 {
		c.n++
		fmt.Fprintf(&c.Buffer, "   0: 0100007F:24E3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 %d 1\n", c.n)
	}
	return c.Buffer.Read(b)
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
	before, err := p.SharedMemory()
	if err != nil || before == 0 {
		t.Fatalf("%d, %v", before, err)
	}
	p.tell("map it again")
	if shared, err := p.SharedMappings(); err != nil || len(shared) != 2 {
		t.Fatalf("%+v, %v, want two mappings", shared, err)
	}
	if after, err := p.SharedMemory(); err != nil || after != before {
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
	if _, err := p.PurgeSSLCache(t.Context(), []int{p.PID, child}); !errorIs(err, ManyOwners) {
		t.Errorf("%v, want refusal %q", err, ManyOwners)
	}
	// One that is not asked for, in another cgroup, say: the thread that waits for it cannot be stopped.
	if _, err := p.PurgeSSLCache(t.Context(), []int{p.PID}); !errorIs(err, CannotStop) {
		t.Errorf("%v, want refusal %q", err, CannotStop)
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
	p, err := NewScanner("/proc").Recheck(w)
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
	if _, err := NewScanner("/proc").Recheck(w); !errors.Is(err, ErrNotStopping) {
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
	cmd := exec.Command("/proc/self/exe", "-S", filepath.Join(t.TempDir(), "sock"))
	cmd.Env = append(os.Environ(), fmt.Sprintf("HAPRESSURE_VICTIM=%d", real.PID))
	fake := startLookalikeAs(t, cmd, "master")
	children, err := os.ReadFile(fake.path(fmt.Sprintf("task/%d/children", fake.PID)))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	fmt.Sscan(string(children), &pid)
	worker := open(t, pid)

	s := NewScanner("/proc")
	var mine []Worker
	h.Eventually("the fake is found and the real one serves", func() error {
		found, err := s.Scan(t.Context(), append(h.Pids(), fake.PID, worker.PID, 1))
		if err != nil || len(found) != 2 {
			return fmt.Errorf("%+v, %v", found, err)
		}
		slices.SortFunc(found, func(a, b Instance) int { return map[bool]int{true: -1, false: 1}[a.Master.PID == fake.PID] })
		if mine = found[0].Workers; !slices.Equal(states(found[1]), []State{Current}) || len(mine) != 1 || mine[0].State != Stopping {
			return fmt.Errorf("%+v", found)
		}
		return nil
	})
	p, err := s.Recheck(mine[0])
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

// fakeMaster answers on the socket of its command line, and has a worker.
func fakeMaster() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "HAPRESSURE_LOOKALIKE=shared")
	cmd.Stdin = os.Stdin
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	l, lerr := net.Listen("unix", os.Args[2])
	if err := errors.Join(lerr, cmd.Start()); err != nil {
		return err
	}
	go func() {
		sessions := "0x1: fe=f\n0xffffffffffffffff: fe=f\n"
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(conn)
			switch command := string(b); {
			case strings.HasPrefix(command, "show proc"):
				fmt.Fprintf(conn, "#<PID> <type> <reloads>\n1 worker 0\n# old workers\n%d worker 999999999\n%s worker -1\n", cmd.Process.Pid, os.Getenv("HAPRESSURE_VICTIM"))
			case strings.HasSuffix(command, "show info\n"):
				fmt.Fprintf(conn, "Pid: %d\nCurrConns: -5\nStopping: 1\n", cmd.Process.Pid)
			case strings.HasSuffix(command, "show sess\n"):
				io.WriteString(conn, sessions)
				sessions = ""
			}
			conn.Close()
		}
	}()
	if _, err := io.CopyN(os.Stdout, out, int64(len("ready\n"))); err != nil {
		return err
	}
	return cmd.Wait()
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

// A worker that does not answer keeps us from asking the others once, and is then asked after them.
func TestSilentWorkersAreAskedLast(t *testing.T) {
	asked := make(chan string, 8)
	c := serveCLI(t, func(conn net.Conn) {
		b, _ := io.ReadAll(conn)
		asked <- strings.TrimSpace(string(b))
		<-t.Context().Done()
	})
	s := NewScanner("/proc")
	a, b := startLookalike(t, "shared"), startLookalike(t, "shared")
	f := family{master: proc{ID: c.master}, workers: []proc{{ID: a.ID}, {ID: b.ID}}}
	st, err := readStatus("/proc", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	c.depth = st.depth
	s.remember(a.ID).unproven = 1
	in, err := s.instance(t.Context(), f, c, nil)
	if err != nil || !slices.Equal(states(in), []State{Unknown, Unknown}) {
		t.Fatalf("%+v, %v", in, err)
	}
	want := []string{"show proc", fmt.Sprintf("@!%d show info", b.PID), fmt.Sprintf("@!%d show info", a.PID)}
	for i, command := range want {
		if got := <-asked; got != command {
			t.Errorf("%d: asked %q, want %q", i, got, command)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if in, err := s.instance(ctx, f, c, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v, want an end of it with the look's time", in, err)
	}
}

// A worker that exits closes its CLI some time before it is gone. That is a drain's end, not its failure.
func TestWorkerThatExitsWhileItIsDrained(t *testing.T) {
	c := serveCLI(t, func(conn net.Conn) {
		conn.Read(make([]byte, 100)) // the command
		io.WriteString(conn, "Can't connect to the target CLI!\n")
	})
	worker := exec.Command("sleep", "1")
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { worker.Wait() })
	p := open(t, worker.Process.Pid)
	if d, err := Drain(t.Context(), Worker{ID: p.ID, NSPID: p.PID, cli: c}, p, Pace{}); err != nil || d.Left {
		t.Errorf("drain: %+v, %v", d, err)
	}
}
