package haproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hapressure/tests/haproxytest"
)

// actEnv makes this test program do something else instead: an action on a worker, as
// "purge 4711 4710", the action, the worker and its master; or "sleep", see sleepDeep.
const actEnv = "HAPRESSURE_TEST_ACT"

// patientEnv makes such a program hold a worker for as long as the tests themselves may.
const patientEnv = "HAPRESSURE_TEST_PATIENT"

func TestMain(m *testing.M) {
	act := os.Getenv(actEnv)
	if act == "" || os.Getenv(patientEnv) != "" {
		holdLimit = haproxytest.Deadline
	}
	if act != "" {
		if err := doAct(context.Background(), strings.Fields(act)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func doAct(ctx context.Context, act []string) error {
	kind := act[0]
	if kind == "sleep" {
		sleepDeep()
	}
	var pids []int
	for _, text := range act[1:] {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	p, err := unproven(pids[0])
	if err != nil {
		return err
	}
	var w Worker
	if kind == "drain" || kind == "around" {
		found, err := NewScanner("/proc").Scan(ctx, pids)
		if err != nil || len(found) != 1 {
			return fmt.Errorf("scanning: %d instances, %w", len(found), err)
		}
		w = found[0].Workers[slices.IndexFunc(found[0].Workers,
			func(w Worker) bool { return w.PID == p.w.PID })]
		w.cli.Timeout = haproxytest.Deadline // it is stopped at each system call
	}
	unix.Getpgid(0) // mark; see killBefore
	switch kind {
	case "purge":
		_, err = purge(ctx, p, pids)
	case "cold":
		err = freezeCold(p)
	case "trim":
		_, err = p.TrimPools(ctx)
	case "pageout":
		_, err = p.PageOut(ctx, PageOutPace{PerSecond: 1 << 30, Busy: 1e6}, mayAlways)
	case "markcold":
		err = p.Cold(ctx)
	case "drain":
		_, err = Replaced{&Stopping{w, p.p}}.Drain(ctx, Pace{})
	case "around":
		_, err = w.cli.Info(ctx)
	case "terminate":
		_, err = Replaced{p}.Terminate(ctx, time.Millisecond)
	}
	return err
}

// purge tries again, as a policy does, if a thread of the worker does not get a CPU in
// time to stop, or if the cache is in use.
func purge(ctx context.Context, p *Stopping, pids []int) (Purged, error) {
	for end := time.Now().Add(haproxytest.Deadline); ; {
		res, err := p.PurgeSSLCache(ctx, pids)
		if !errors.Is(err, ErrBusy) && !errors.Is(err, ErrCannotStop) || time.Now().After(end) {
			return res, err
		}
	}
}

// mark is a system call that nothing else here makes. The steps of an action are counted
// from it on.
const mark = unix.SYS_GETPGID

// idle are calls by which Go's runtime waits, or wakes its own threads: they come at any
// time and in any number.
var idle = []uint64{unix.SYS_FUTEX, unix.SYS_EPOLL_PWAIT, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD,
	unix.SYS_RT_SIGPROCMASK,
	unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_GETPID, unix.SYS_TGKILL, unix.SYS_MADVISE,
	unix.SYS_GETTID}

// victim is a run of doAct under ptrace(2), to be killed at some step, or to be halted.
type victim struct {
	pid      int
	halt     halt // what is done to it instead of killing it, if that has a name
	counting bool
	steps    int            // so far
	holder   int            // the thread that freezes a worker; negative while it stops it
	calls    map[int]uint64 // by thread, the system call that it is in
	seized   time.Time      // when the holder seized its first thread
}

// kill runs an action and kills it right before its system call n from the mark on, or
// where single is true n instructions after the worker stands still. It returns how many
// steps it came to: fewer than n if it came to its end before.
func kill(t *testing.T, act string, n int, single bool) int {
	t.Helper()
	v := victim{calls: map[int]uint64{}}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // only the thread that traces may; it ends with its goroutine
		done <- v.run(act, n, single)
	}()
	if err := <-done; err != nil {
		t.Fatalf("%s, killed at %d: %v", act, n, err)
	}
	return v.steps
}

// killEach runs an action to its end, and then again, killed at some of its steps, spread
// evenly, with after in between. With HAPRESSURE_FAULTS=all it is forty times as many,
// which is each step where there are no more.
func killEach(t *testing.T, act func() string, single bool, some int, after func(when string)) {
	t.Helper()
	steps := kill(t, act(), math.MaxInt, single)
	after("not killed")
	if os.Getenv("HAPRESSURE_FAULTS") == "all" {
		some *= 40
	}
	kills := 0
	for n := 1; n <= steps; n += max(1, steps/some) {
		switch got := kill(t, act(), n, single); {
		case got == n:
			kills++
		case got < steps: // it was not tried again as often as before: begin again
			steps, n, kills = got, 0, 0
		}
		after(fmt.Sprintf("killed at step %d", n))
	}
	t.Logf("killed %d times in %d steps", kills, steps)
	if kills < 5 {
		t.Errorf("it was killed %d times only", kills)
	}
}

// errOwnTimer says that a victim held a worker for too long before its step came: it is
// stopped at each system call, and the machine may be busy. A victim that is to be killed
// has patientEnv, so that its timer, which is not its subject, does not expire.
var errOwnTimer = errors.New("killed by its own timer")

func (v *victim) run(act string, n int, single bool) error {
	env := append(os.Environ(), actEnv+"="+act, "GODEBUG=asyncpreemptoff=1")
	if v.halt.name == "" {
		env = append(env, patientEnv+"=yes")
	}
	p, err := os.StartProcess(os.Args[0], os.Args[:1], &os.ProcAttr{
		Env:   env,
		Files: []*os.File{nil, nil, os.Stderr},
		Sys:   &unix.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return err
	}
	defer p.Release()
	v.pid = p.Pid
	var ws unix.WaitStatus
	if _, err := unix.Wait4(v.pid, &ws, unix.WALL, nil); err != nil { // the stop at its execve(2)
		return err
	}
	options := unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACESYSGOOD
	if v.halt.name == "" {
		options |= unix.PTRACE_O_EXITKILL
	} else if err := v.halt.prepare(v.pid); err != nil {
		return err
	}
	if err := unix.PtraceSetOptions(v.pid, options); err != nil {
		return err
	}
	tid, signal := v.pid, 0
	for {
		if single && tid == v.holder {
			err := v.stepThrough(n)
			if errors.Is(err, unix.ESRCH) { // nothing else kills it
				err = errOwnTimer
			}
			if err != nil || v.steps == n {
				return errors.Join(err, v.kill())
			}
			tid = v.holder
			single, n = false, -1 // to its end
		}
		if err := unix.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		tid, err = unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		signal = 0
		switch {
		case err != nil:
			return err
		case tid == v.pid && ws.Exited() &&
			ws.ExitStatus() == 0: // the kernel reports the last of its threads
			return nil
		case tid == v.pid && ws.Signaled() && ws.Signal() == unix.SIGKILL:
			return errOwnTimer
		case tid == v.pid && (ws.Exited() || ws.Signaled()):
			return fmt.Errorf("it ended with %d, signal %d", ws.ExitStatus(), ws.Signal())
		case ws.Exited(), ws.Signaled():
		case ws.StopSignal() == unix.SIGTRAP|0x80:
			if v.call(tid) && !single && n > 0 {
				v.steps++
			}
			if !single && v.steps == n && v.halt.name != "" {
				return v.halt.now(v.pid, tid) // and the end of this thread detaches it
			}
			if !single && v.steps == n {
				return v.kill()
			}
		case ws.StopSignal() != unix.SIGTRAP && ws.StopSignal() != unix.SIGSTOP:
			signal = int(ws.StopSignal())
		}
	}
}

// call records a thread's entry into a system call, or its return, and reports whether it
// was a step of the action.
func (v *victim) call(tid int) (step bool) {
	info, err := syscallInfo(tid)
	if err != nil {
		return false
	}
	nr := binary.NativeEndian.Uint64(info[24:])
	if info[0] != unix.PTRACE_SYSCALL_INFO_ENTRY {
		// The last call before the cache is written asks whether the worker lives.
		if nr := v.calls[tid]; v.holder == -tid && nr == unix.SYS_PPOLL {
			v.holder = tid
		}
		return false
	}
	v.calls[tid] = nr
	if nr == mark {
		v.counting = v.halt.name == ""
	}
	// It has begun, or again: an attempt that could not stop all threads is followed
	// by another, on a thread of its own.
	if nr == unix.SYS_PTRACE && v.holder <= 0 && v.holder != -tid {
		v.holder, v.seized = -tid, time.Now()
	}
	if v.halt.name != "" { // a step is a call made while threads are held
		switch {
		case nr == unix.SYS_TIMER_DELETE && v.holder == tid:
			v.counting = false
		case v.holder == -tid:
			v.counting = true
		}
		return v.counting && (tid == v.holder || tid == -v.holder) && !slices.Contains(idle, nr)
	}
	return v.counting && !slices.Contains(idle, nr)
}

// syscallInfo is struct ptrace_syscall_info of a stopped thread (ptrace(2),
// PTRACE_GET_SYSCALL_INFO).
func syscallInfo(tid int) ([88]byte, error) {
	var info [88]byte
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return info, errno
	}
	return info, nil
}

// stepThrough runs n instructions of the thread that holds the worker, or fewer up to its
// next system call: that is the one that releases the worker.
func (v *victim) stepThrough(n int) error {
	for v.steps = 0; v.steps < n; v.steps++ {
		info, err := syscallInfo(v.holder)
		if err != nil {
			return err
		}
		var code [2]byte
		if _, err := unix.PtracePeekText(v.holder, uintptr(binary.NativeEndian.Uint64(info[8:])),
			code[:]); err != nil {
			return err
		}
		if code == [2]byte{0x0f, 0x05} { // amd64, SYSCALL
			return nil
		}
		if err := unix.PtraceSingleStep(v.holder); err != nil {
			return err
		}
		if _, err := unix.Wait4(v.holder, nil, unix.WALL, nil); err != nil {
			return err
		}
	}
	return nil
}

// kill kills the victim and waits until nothing is left of it.
func (v *victim) kill() error {
	if err := unix.Kill(v.pid, unix.SIGKILL); err != nil {
		return err
	}
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if err != nil || tid == v.pid &&
			ws.Signaled() { // its other threads were reported before
			return err
		}
	}
}

// free returns an error unless every thread of a process runs or waits as it likes.
func free(pid int) error {
	tids, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, e := range tids {
		tid := e.Name()
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, tid))
		if err != nil {
			return err
		}
		if s := string(b); !strings.Contains(s, "TracerPid:\t0\n") || strings.Contains(s,
			"State:\tt") || strings.Contains(s, "State:\tT") {
			return fmt.Errorf("thread %s: %.200s", tid, s)
		}
	}
	return nil
}

// A purge that is killed before any of its system calls, or at any instruction while the
// worker is frozen, leaves a worker that serves all that it had and whatever is new, and
// a cache that the next purge takes up. The worker is one that serves: a harder case.
func TestPurgeKilledAnywhere(t *testing.T) {
	releases := []string{""}
	if os.Getenv("HAPRESSURE_FAULTS") == "all" {
		releases = haproxytest.Releases()
	}
	for _, release := range releases {
		t.Run("release "+release, func(t *testing.T) {
			t.Run("system calls", func(t *testing.T) { purgeKilled(t, release, false) })
			t.Run("instructions", func(t *testing.T) { purgeKilled(t, release, true) })
		})
	}
}

func purgeKilled(t *testing.T, release string, single bool) {
	if single && runtime.GOARCH != "amd64" {
		t.Skip("knows the system call instruction of amd64 only")
	}
	h := haproxytest.Start(t, haproxytest.Config{Release: release, CacheSize: cacheSize})
	worker := h.Children()
	p, err := unproven(worker[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	tunnel, client, resumed := h.Tunnel(), h.SessionIDClient(), 0
	act := func() string { return fmt.Sprintf("purge %d %d", p.w.PID, h.Master) }
	killEach(t, act, single, 15, func(when string) {
		if err := free(p.w.PID); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if err := haproxytest.Echo(tunnel); err != nil {
			t.Fatalf("%s: tunnel: %v", when, err)
		}
		for range 2 { // to store a session, and to find one
			if err := client.Connect(); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			again, err := client.Handshake()
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if again {
				resumed++
			}
		}
		if _, err := purge(t.Context(), p, h.Pids()); err != nil {
			t.Fatalf("%s: the next purge: %v", when, err)
		}
		refill(t, p)
	})
	if resumed == 0 {
		t.Error("no session was resumed: the cache was not used")
	}
	if got := h.Children(); !slices.Equal(got, worker) {
		t.Errorf("workers %v, want %v", got, worker)
	}
}

// So it is with every other action: before each of its system calls.
func TestActionsKilledAnywhere(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"trim", "markcold", "pageout", "drain", "around", "terminate"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := haproxytest.Start(t, haproxytest.Config{CacheSize: 1000, NoCLI: kind == "around"})
			s := NewScanner("/proc")
			var old Worker
			var held, tunnel net.Conn // a session of it, and one of the worker that serves
			ready := func() {         // there is a stopping worker
				if held != nil && haproxytest.Echo(held) == nil {
					return
				}
				h.Eventually("the worker that was ended is gone", func() error {
					if slices.Contains(h.Children(), old.PID) {
						return fmt.Errorf("worker %d is still there", old.PID)
					}
					return nil
				})
				if tunnel != nil {
					tunnel.Close()
				}
				held = h.Tunnel()
				h.SignalReload()
				in := scan(t, s, h, "a stopping and a current worker", func(in Instance) bool {
					return slices.Contains(states(in), StateStopping) &&
						states(in)[len(in.Workers)-1] == StateCurrent
				})
				old, tunnel = in.Workers[len(in.Workers)-2], h.Tunnel()
			}
			act := func() string {
				ready()
				return fmt.Sprintf("%s %d %d", kind, old.PID, h.Master)
			}
			killEach(t, act, false, 10, func(when string) {
				ready()
				for _, pid := range h.Children() {
					if err := free(pid); err != nil {
						t.Fatalf("%s: %v", when, err)
					}
				}
				if err := haproxytest.Echo(tunnel); err != nil {
					t.Fatalf("%s: tunnel: %v", when, err)
				}
				h.Tunnel().Close() // a new client
			})
		})
	}
}
