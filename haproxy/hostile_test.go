package haproxy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/cli"
	"hapressure/haproxy/proc"
	"hapressure/tests/haproxytest"
)

// What docs/threat-model.md claims of workers that an attacker has taken over, and of
// processes that call themselves haproxy.

// A process can call any of its memory its command line.
func TestCommandLineAsLongAsMemory(t *testing.T) {
	p := startLookalike(t, "private")
	p.tell("long command line")
	b, err := proc.ReadFile("/proc", p.w.PID, "cmdline")
	if err != nil || len(b) != proc.FileLimit {
		t.Errorf("%d bytes, %v, want %d", len(b), err, proc.FileLimit)
	}
	_, err = readArguments(t.Context(), "/proc", p.w.PID, proc.NewTurnstile())
	if !errors.Is(err, errLongCmdline) {
		t.Errorf("%v, want %v", err, errLongCmdline)
	}
}

// Memory that is mapped twice counts once: otherwise a worker could make a reload seem
// larger than it is.
func TestMemoryMappedTwiceCountsOnce(t *testing.T) {
	p := startLookalike(t, "shared")
	before, err := sharedMemory(p.p)
	if err != nil || before == 0 {
		t.Fatalf("%d, %v", before, err)
	}
	p.tell("map it again")
	if shared, err := sharedMappings(p.p); err != nil || len(shared) != 2 {
		t.Fatalf("%+v, %v, want two mappings", shared, err)
	}
	if after, err := sharedMemory(p.p); err != nil || after != before {
		t.Errorf("%d, %v, want %d as before", after, err, before)
	}
}

// A process that shares all memory (CLONE_VM) is no thread: /proc/PID/task does not show
// it, and ptrace does not stop it with the others.
func TestProcessInTheSameMemoryIsRefused(t *testing.T) {
	p := startLookalike(t, "shared")
	p.tell("vfork")
	var child int
	for end := time.Now().Add(haproxytest.Deadline); child == 0 &&
		time.Now().Before(end); time.Sleep(time.Millisecond) {
		tids, err := p.p.Threads()
		if err != nil {
			t.Fatal(err)
		}
		for _, tid := range tids {
			b, _ := os.ReadFile(p.p.Path(fmt.Sprintf("task/%d/children", tid)))
			fmt.Sscan(string(b), &child)
		}
	}
	if child == 0 {
		t.Fatal("no process was made")
	}
	t.Cleanup(func() { syscall.Kill(child, syscall.SIGKILL) })
	before := sharedSums(t, p.Stopping)
	if _, err := p.PurgeSSLCache(t.Context(), []int{p.w.PID, child}); !errors.Is(err,
		ErrManyOwners) {
		t.Errorf("%v, want refusal %q", err, ErrManyOwners)
	}
	// One that is not asked for, in another cgroup, say: the thread that waits for it
	// cannot be stopped.
	if _, err := p.PurgeSSLCache(t.Context(), []int{p.w.PID}); !errors.Is(err, ErrCannotStop) {
		t.Errorf("%v, want refusal %q", err, ErrCannotStop)
	}
	if !maps.Equal(before, sharedSums(t, p.Stopping)) {
		t.Error("its shared memory was written")
	}
}

// In a pid namespace of its own a worker's child can have the number of any other worker.
func TestWorkerInAPidNamespaceOfItsOwn(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	p := startLookalikeAs(t, cmd, "shared")
	s := NewScanner("/proc")
	recognise(t, s, os.Getpid(), p.w.PID)
	found, err := s.Scan(t.Context(), []int{os.Getpid(), p.w.PID})
	if err != nil || len(found) != 1 || len(found[0].Workers) != 1 {
		t.Fatalf("%+v, %v, want one worker", found, err)
	}
	if w := found[0].Workers[0]; w.State != StateUnknown || !strings.Contains(w.Why,
		"pid namespace") {
		t.Errorf("%v: %s", w.State, w.Why)
	}
}

// What was a worker can have become another program, set-user-ID even, with the same pid
// and start time.
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
	w := Worker{ID: open(t, cmd.Process.Pid).w.ID, State: StateStopping,
		proven: StateStopping, exe: sh}
	p, err := NewScanner("/proc").Recheck(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	io.WriteString(in, "\n")
	for end := time.Now().Add(haproxytest.Deadline); p.p.CheckProgram(sh) == nil &&
		time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if _, err := (Replaced{p}).Terminate(t.Context(), time.Minute); !errors.Is(err,
		ErrNotStopping) {
		t.Errorf("Terminate: %v, want ErrNotStopping", err)
	}
	if _, err := NewScanner("/proc").Recheck(t.Context(), w); !errors.Is(err, ErrNotStopping) {
		t.Errorf("Recheck: %v, want ErrNotStopping", err)
	}
	if !p.p.Alive() {
		t.Error("it was ended")
	}
}

// A fake master that lies as it likes, with a worker that has a perfect cache and says
// that it is stopping: what is done to it is done to it alone. The real HAProxy beside
// it, whose pids the liar claims, is left as it is.
func TestFakeHAProxyHarmsOnlyItself(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	real := open(t, h.Children()[0])
	before := sharedSums(t, real)
	fake := startLookalikeAs(t, exec.Command(haproxytest.Lookalike(t, "/proc/self/exe", "haproxy")),
		"master")
	var pid, serving int
	h.Eventually("the fake has its workers", func() error {
		b, err := os.ReadFile(fake.p.Path(fmt.Sprintf("task/%d/children", fake.w.PID)))
		if n, _ := fmt.Sscan(string(b), &pid, &serving); err == nil && n != 2 {
			err = fmt.Errorf("children %q", b)
		}
		return err
	})
	worker := open(t, pid)

	s := NewScanner("/proc")
	var mine []Worker
	h.Eventually("the fake is found and the real one serves", func() error {
		found, err := s.Scan(t.Context(), append(h.Pids(), fake.w.PID, worker.w.PID, serving, 1))
		if err != nil || len(found) != 2 {
			return fmt.Errorf("%+v, %v", found, err)
		}
		slices.SortFunc(found, func(a, b Instance) int {
			return map[bool]int{true: -1,
				false: 1}[a.Master.PID == fake.w.PID]
		})
		mine = found[0].Workers
		if !slices.Equal(states(found[1]), []State{StateCurrent}) || !slices.Equal(states(found[0]),
			[]State{StateStopping, StateCurrent}) {
			return fmt.Errorf("%+v", found)
		}
		return nil
	})
	p, err := s.Recheck(t.Context(), mine[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.w.PID != worker.w.PID {
		t.Fatalf("worker %d is acted on, not %d", p.w.PID, worker.w.PID)
	}
	done, err := purge(t.Context(), p, append(h.Pids(), fake.w.PID))
	if err != nil || done.After != pageSize {
		t.Errorf("purge: %+v, %v", done, err)
	}
	// It claims sessions of the real one. To shut them down it is asked itself.
	if d, err := (Replaced{p}).Drain(t.Context(), Pace{}); err != nil || d.Sessions == 0 {
		t.Errorf("drain: %+v, %v", d, err)
	}
	if _, err := (Replaced{p}).Terminate(t.Context(), time.Minute); err != nil || worker.p.Alive() {
		t.Errorf("terminate: %v", err)
	}
	if !real.p.Alive() || !maps.Equal(before, sharedSums(t, real)) {
		t.Error("the real worker was touched")
	}
}

// fakeMaster has a worker that claims to be stopping, and one that serves. As a master
// does, it notes its workers in its environment and executes itself again.
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
	note := fmt.Sprintf("|type=w;fd=%d;cfd=%d;pid=%d|type=w;fd=%[1]d;pid=1", ends[0], ends[1],
		pids[0])
	if err := errors.Join(os.Setenv("HAPRESSURE_LOOKALIKE", "master again"),
		os.Setenv("HAPROXY_PROCESSES", note)); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}

// fakeMasterAgain answers in the name of its worker, which its environment has.
func fakeMasterAgain() error {
	var fd, cfd, pid int
	if _, err := fmt.Sscanf(os.Getenv("HAPROXY_PROCESSES"), "|type=w;fd=%d;cfd=%d;pid=%d|", &fd,
		&cfd, &pid); err != nil {
		return err
	}
	sessions := "0x1: fe=f\n0xffffffffffffffff: fe=f\n"
	worker, err := net.FileConn(os.NewFile(uintptr(cfd), "worker"))
	if err != nil {
		return err
	}
	go haproxytest.ServePair(worker, func(conn net.Conn) {
		switch haproxytest.Command(conn) {
		case "show info":
			fmt.Fprintf(conn,
				"Pid: %d\nCurrConns: -5\nStopping: 1\nListeners: 1\nUnstoppable Jobs: 1\n", pid)
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
	if err := errors.Join(os.WriteFile(secret, []byte("hard-stop-after 1s\n"), 0o600),
		os.Mkdir(root, 0o755),
		os.Symlink(secret, root+"/absolute"), os.Symlink("../secret", root+"/up"),
		os.Symlink("../../../../../.."+secret, root+"/far")); err != nil {
		t.Fatal(err)
	}
	p := startLookalike(t, "chroot "+root)
	for _, name := range []string{"/absolute", "/up", "/far", "../secret", "up"} {
		if f, err := proc.OpenAt("/proc", p.w.PID, name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, %v, want nothing there", name, f, err)
		}
	}
}

// The configuration of a fake master can be any file that there is.
func TestConfigurationThatIsNone(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(unix.Mkfifo(at("fifo"), 0o600),
		// no such driver: to open it is an error
		unix.Mknod(at("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(240, 99))),
		os.Mkdir(at("loop"), 0o755), os.Symlink(".", at("loop/a.cfg")), os.Symlink(".",
			at("loop/b.cfg")), os.Symlink("/", at("loop/c.cfg")),
		os.Mkdir(at("empty"), 0o755), os.WriteFile(at("huge"), nil, 0o600), os.Truncate(at("huge"),
			1<<40)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{"X=\nhard-stop-after 1s\n"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	for name, want := range map[string]string{
		at("fifo"):   "neither a file nor a directory",
		at("device"): "neither a file nor a directory",
		at("loop"):   "", at("empty"): "", fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid): "",
		at("huge"): "too long", at("\x1b[2J\n"): "no such file",
	} {
		c := config{procfs: "/proc", pid: os.Getpid(), left: configLimit,
			parse: func(r io.Reader) error {
				d, ok, err := hardStopAfter.in(r)
				if ok {
					t.Errorf("%q: hard-stop-after is %v", name, d)
				}
				return err
			}}
		switch err := c.read(name); {
		case want == "" && err != nil:
			t.Errorf("%q: %v", name, err)
		case want != "":
			if haproxytest.Printable(t, err); !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", name, err, want)
			}
		}
	}
}

// A worker that exits closes its CLI some time before it is gone. That is a drain's end,
// not its failure.
func TestWorkerThatExitsWhileItIsDrained(t *testing.T) {
	worker := exec.Command("sleep", "1")
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { worker.Wait() })
	p := open(t, worker.Process.Pid)
	p.w.cli = clientOf(t, func(conn net.Conn) {
		haproxytest.Command(conn) // and the connection is closed
	})
	if d, err := (Replaced{p}).Drain(t.Context(), Pace{}); err != nil || d.Left {
		t.Errorf("drain: %+v, %v", d, err)
	}
}

// clientOf returns a client whose questions serve answers. This process is the worker and
// its master, as a proc file system made up for it says.
func clientOf(t *testing.T, serve func(net.Conn)) *cli.Client {
	t.Helper()
	number := haproxytest.ServedPair(t, serve)

	procfs, pid := t.TempDir(), os.Getpid()
	status, err := proc.ReadStatus("/proc", pid)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(procfs, strconv.Itoa(pid))
	note := fmt.Sprintf("HAPROXY_PROCESSES=|type=w;fd=%d;pid=%d|\x00", number, status.NSPID)
	err = errors.Join(os.Mkdir(dir, 0o755), os.Symlink("/proc/self/stat", dir+"/stat"),
		os.Symlink("/proc/self/status", dir+"/status"), os.WriteFile(dir+"/environ", []byte(note),
			0o644))
	if err != nil {
		t.Fatal(err)
	}
	c, err := cli.New(procfs, open(t, pid).w.ID, open(t, pid).w.ID, status, proc.NewTurnstile())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
