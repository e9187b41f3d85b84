package haproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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

// actEnv makes this test program do one action on a worker instead: "purge 4711 4710", the action, the worker and its master.
const actEnv = "HAPRESSURE_TEST_ACT"

func TestMain(m *testing.M) {
	if act := os.Getenv(actEnv); act != "" {
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
	var pids []int
	for _, text := range act[1:] {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	p, err := OpenProcess("/proc", ID{PID: pids[0]})
	if err != nil {
		return err
	}
	var w Worker
	if kind == "drain" || kind == "around" {
		found, err := NewScanner("/proc").Scan(ctx, pids)
		if err != nil || len(found) != 1 {
			return fmt.Errorf("scanning: %d instances, %w", len(found), err)
		}
		w = found[0].Workers[slices.IndexFunc(found[0].Workers, func(w Worker) bool { return w.PID == p.PID })]
	}
	unix.Getpgid(0) // mark; see killBefore
	switch kind {
	case "purge":
		_, err = p.PurgeSSLCache(ctx, pids)
	case "trim":
		_, err = p.TrimPools(ctx)
	case "pageout":
		_, err = p.PageOut(ctx)
	case "drain":
		_, err = Drain(ctx, w, p, Pace{})
	case "around":
		_, err = w.ShowInfo(ctx)
	case "terminate":
		_, err = p.Terminate(ctx, time.Millisecond)
	}
	return err
}

// mark is a system call that nothing else here makes. The steps of an action are counted from it on.
const mark = unix.SYS_GETPGID

// idle are calls by which Go's runtime waits, or wakes its own threads: they come at any time and in any number.
var idle = []uint64{unix.SYS_FUTEX, unix.SYS_EPOLL_PWAIT, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD, unix.SYS_RT_SIGPROCMASK,
	unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_GETPID, unix.SYS_TGKILL, unix.SYS_MADVISE, unix.SYS_GETTID}

// victim is a run of doAct under ptrace(2), to be killed at some step.
type victim struct {
	pid      int
	counting bool
	steps    int            // system calls since the mark
	holder   int            // the thread that holds a worker still
	polls    map[int]uint64 // by thread, the system call that it is in
}

// kill runs an action and kills it right before its system call n from now on, or where single is true n instructions after the worker
// stands still. It returns false if the action came to its end before.
func kill(t *testing.T, act string, n int, single bool) (killed bool) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // only the thread that traces may; it ends with its goroutine
		v := victim{polls: map[int]uint64{}}
		var err error
		killed, err = v.run(act, n, single)
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("%s, killed at %d: %v", act, n, err)
	}
	return killed
}

func (v *victim) run(act string, n int, single bool) (bool, error) {
	p, err := os.StartProcess(os.Args[0], os.Args[:1], &os.ProcAttr{
		Env:   append(os.Environ(), actEnv+"="+act, "GODEBUG=asyncpreemptoff=1"),
		Files: []*os.File{nil, nil, os.Stderr},
		Sys:   &unix.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return false, err
	}
	defer p.Release()
	v.pid = p.Pid
	var ws unix.WaitStatus
	if _, err := unix.Wait4(v.pid, &ws, unix.WALL, nil); err != nil { // the stop at its execve(2)
		return false, err
	}
	if err := unix.PtraceSetOptions(v.pid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL); err != nil {
		return false, err
	}
	tid, signal := v.pid, 0
	for {
		if v.holder != 0 && tid == v.holder && single {
			end, err := v.stepThrough(n)
			if err != nil || !end {
				return true, errors.Join(err, v.kill())
			}
			single, n = false, -1 // to its end
		}
		if err := unix.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return false, err
		}
		tid, err = unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		signal = 0
		switch {
		case err != nil:
			return false, err
		case tid == v.pid && ws.Exited() && ws.ExitStatus() == 0: // the last of its threads, as the kernel tells it
			return false, nil
		case tid == v.pid && (ws.Exited() || ws.Signaled()):
			return false, fmt.Errorf("it ended with %d, signal %d", ws.ExitStatus(), ws.Signal())
		case ws.Exited(), ws.Signaled():
		case ws.StopSignal() == unix.SIGTRAP|0x80:
			if v.call(tid) && !single && v.steps == n {
				return true, v.kill()
			}
		case ws.StopSignal() != unix.SIGTRAP && ws.StopSignal() != unix.SIGSTOP:
			signal = int(ws.StopSignal())
		}
	}
}

// call takes note of a thread's entry into a system call, or of its return, and tells whether it was a step of the action.
func (v *victim) call(tid int) (step bool) {
	info, err := syscallInfo(tid)
	if err != nil {
		return false
	}
	nr := binary.NativeEndian.Uint64(info[24:])
	if info[0] != unix.PTRACE_SYSCALL_INFO_ENTRY {
		// The last call before the cache is written asks whether the worker lives.
		if nr := v.polls[tid]; v.holder == -tid && (nr == unix.SYS_POLL || nr == unix.SYS_PPOLL) {
			v.holder = tid
		}
		return false
	}
	v.polls[tid] = nr
	if nr == mark {
		v.counting = true
	}
	if nr == unix.SYS_PTRACE {
		v.holder = -tid // it has begun
	}
	if !v.counting || slices.Contains(idle, nr) {
		return false
	}
	v.steps++
	return true
}

// syscallInfo is struct ptrace_syscall_info of a stopped thread (ptrace(2), PTRACE_GET_SYSCALL_INFO).
func syscallInfo(tid int) ([88]byte, error) {
	var info [88]byte
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return info, errno
	}
	return info, nil
}

// stepThrough runs n instructions of the thread that holds the worker. It reports whether it came to a system call before: that is the
// one by which the worker is let go.
func (v *victim) stepThrough(n int) (end bool, err error) {
	for range n {
		info, err := syscallInfo(v.holder)
		if err != nil {
			return false, err
		}
		var code [2]byte
		if _, err := unix.PtracePeekText(v.holder, uintptr(binary.NativeEndian.Uint64(info[8:])), code[:]); err != nil {
			return false, err
		}
		if code == [2]byte{0x0f, 0x05} { // amd64, SYSCALL
			return true, nil
		}
		if err := unix.PtraceSingleStep(v.holder); err != nil {
			return false, err
		}
		var ws unix.WaitStatus
		if _, err := unix.Wait4(v.holder, &ws, unix.WALL, nil); err != nil {
			return false, err
		}
	}
	return false, nil
}

// kill kills the victim and waits until nothing is left of it.
func (v *victim) kill() error {
	if err := unix.Kill(v.pid, unix.SIGKILL); err != nil {
		return err
	}
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if err != nil || tid == v.pid && ws.Signaled() { // its other threads have been told of by then
			return err
		}
	}
}

// everyStep is how many steps are left out after each that is done: none with HAPRESSURE_FAULTS=all.
func everyStep(otherwise int) int {
	if os.Getenv("HAPRESSURE_FAULTS") == "all" {
		return 1
	}
	return otherwise
}

// free fails the test unless every thread of the worker runs or waits as it likes.
func free(t *testing.T, pid int, when string) {
	t.Helper()
	p := &Process{ID: ID{PID: pid}, procfs: "/proc"}
	tids, err := p.threads()
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for _, tid := range tids {
		b, err := os.ReadFile(p.path("task/" + strconv.Itoa(tid) + "/status"))
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if s := string(b); !strings.Contains(s, "TracerPid:\t0\n") || strings.Contains(s, "State:\tt") || strings.Contains(s, "State:\tT") {
			t.Fatalf("%s: thread %d: %s", when, tid, s)
		}
	}
}

// Whoever is killed before any system call of a purge, or at any instruction while the worker stands still, leaves a worker that serves
// all that it had and whatever is new, and a cache that the next purge takes up. The worker is one that serves: a harder case.
func TestPurgeKilledAnywhere(t *testing.T) {
	for _, single := range []bool{false, true} {
		t.Run(map[bool]string{false: "system calls", true: "instructions"}[single], func(t *testing.T) {
			if single && runtime.GOARCH != "amd64" {
				t.Skip("knows the system call instruction of amd64 only")
			}
			h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
			worker := h.Children()
			p, err := OpenProcess("/proc", ID{PID: worker[0]})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			tunnel, client := h.Tunnel(), h.SessionIDClient()
			kills, resumed := 0, 0
			for n := 1; kill(t, fmt.Sprintf("purge %d %d", p.PID, h.Master), n, single); n += everyStep(map[bool]int{false: 3, true: 23}[single]) {
				kills++
				when := fmt.Sprintf("killed at step %d", n)
				free(t, p.PID, when)
				if err := haproxytest.Echo(tunnel); err != nil {
					t.Fatalf("%s: tunnel: %v", when, err)
				}
				for range 2 { // to store a session, and to look one up
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
				if _, err := p.PurgeSSLCache(t.Context(), h.Pids()); err != nil {
					t.Fatalf("%s: the next purge: %v", when, err)
				}
				refill(t, p)
			}
			if kills < 10 || resumed == 0 {
				t.Errorf("%d kills, %d sessions resumed: it was not killed, or the cache not used", kills, resumed)
			}
			if got := h.Children(); !slices.Equal(got, worker) {
				t.Errorf("workers %v, want %v", got, worker)
			}
			t.Logf("HAProxy %s: killed %d times, %d sessions resumed between", h.Version, kills, resumed)
		})
	}
}

// So it is with every other action: before each of its system calls.
func TestActionsKilledAnywhere(t *testing.T) {
	for kind, stride := range map[string]int{"trim": 41, "pageout": 5, "drain": 5, "around": 1, "terminate": 1} { // trim looks again and again
		t.Run(kind, func(t *testing.T) {
			h := haproxytest.Start(t, haproxytest.Config{CacheSize: 1000, NoCLI: kind == "around"})
			s := NewScanner("/proc")
			var old Worker
			var held, tunnel net.Conn // a session of it, and one of the worker that serves
			ready := func() { // there is a stopping worker
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
					return slices.Contains(states(in), Stopping) && states(in)[len(in.Workers)-1] == Current
				})
				old, tunnel = in.Workers[len(in.Workers)-2], h.Tunnel()
			}
			ready()
			kills := 0
			for n := 1; kill(t, fmt.Sprintf("%s %d %d", kind, old.PID, h.Master), n, false); n += everyStep(stride) {
				kills++
				when := fmt.Sprintf("killed at step %d", n)
				ready()
				for _, pid := range h.Children() {
					free(t, pid, when)
				}
				if err := haproxytest.Echo(tunnel); err != nil {
					t.Fatalf("%s: tunnel: %v", when, err)
				}
				h.Tunnel().Close() // a new client
			}
			if kills == 0 {
				t.Error("it was not killed")
			}
			t.Logf("HAProxy %s: killed %d times", h.Version, kills)
		})
	}
}
