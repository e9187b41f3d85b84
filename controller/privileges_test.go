package controller

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/tests/haproxytest"
)

// without runs the test in a child that has the capabilities of the service and all
// system calls, less one of both; none for "".
func without(t *testing.T, test, right, env string) []byte {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	bounds, filtered := "-all", ""
	for _, r := range privileges {
		if name, ok := strings.CutPrefix(r.name, "CAP_"); ok && r.name != right {
			bounds += ",+" + strings.ToLower(name)
		}
	}
	if call, ok := calls[right]; ok {
		filtered = strconv.Itoa(call)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir() + "/out"
	cmd := exec.Command("setpriv", "--bounding-set="+bounds, "--", self, "-test.run=^"+test+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), env, "HAPRESSURE_OUT="+out, "HAPRESSURE_FILTER="+filtered)
	if log, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// filter makes the kernel refuse a system call to all of this process, as systemd's
// SystemCallFilter= does.
func filter(t *testing.T, call uint32) {
	t.Helper()
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: call},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0x00050000 | uint32(unix.EPERM)}, // SECCOMP_RET_ERRNO
		{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000},                      // SECCOMP_RET_ALLOW
	}
	runtime.LockOSThread() // the first call is for the thread that makes the second, which is for all
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		t.Fatal(errno)
	}
}

// child is true in a child of without, which tells its parent what it found by tell.
func child(t *testing.T) (tell func(any), ok bool) {
	out := os.Getenv("HAPRESSURE_OUT")
	if out == "" {
		return nil, false
	}
	if call, err := strconv.Atoi(os.Getenv("HAPRESSURE_FILTER")); err == nil {
		filter(t, uint32(call))
	}
	return func(v any) {
		b, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(out, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}, true
}

// calls are the system calls of privileges.
var calls = map[string]int{
	"pidfd_open(2)": unix.SYS_PIDFD_OPEN, "pidfd_send_signal(2)": unix.SYS_PIDFD_SEND_SIGNAL, "ptrace(2)": unix.SYS_PTRACE,
	"fallocate(2)": unix.SYS_FALLOCATE, "process_madvise(2)": unix.SYS_PROCESS_MADVISE, "pidfd_getfd(2)": unix.SYS_PIDFD_GETFD,
	"openat2(2)": unix.SYS_OPENAT2, "setpriority(2)": unix.SYS_SETPRIORITY, "timer_create(2)": unix.SYS_TIMER_CREATE,
}

// tried is what a child with some rights came to.
type tried struct {
	Missing []string          // by Rights
	Errors  map[string]string // by action, of really doing it
}

// Each right is taken away, and then each action is done to a real worker: those that
// fail must be those that Rights says.
func TestPrivilegesAreWhatActionsNeed(t *testing.T) {
	if tell, ok := child(t); ok {
		tell(tryActions(t))
		return
	}
	for _, kind := range []struct {
		conf  haproxytest.Config
		where map[string]bool // rights that are needed here and not everywhere
	}{
		{conf: haproxytest.Config{Global: "user haproxy\n    group haproxy"}},
		{haproxytest.Config{UID: 65534}, map[string]bool{"CAP_DAC_OVERRIDE": true}},
	} {
		kind.conf.CacheSize, kind.conf.Sections = 5000, "cache c\n    total-max-size 4\n"
		h := haproxytest.Start(t, kind.conf)
		for _, r := range append([]privilege{{}}, privileges...) {
			if _, ok := calls[r.name]; !ok && r.name != "" && !strings.HasPrefix(r.name, "CAP_") {
				continue // a setting of the kernel
			}
			if kind.where != nil && r.name != "" && r.where == "" {
				continue // it was lost in the first kind
			}
			for range 2 {
				h.Tunnel()
				h.Reload()
			}
			env := "HAPRESSURE_PIDS=" + strings.Trim(fmt.Sprint(h.Pids()), "[]")
			var got tried
			if err := json.Unmarshal(without(t, t.Name(), r.name, env), &got); err != nil {
				t.Fatal(err)
			}
			if r.name != "" && r.name != "CAP_SYS_RESOURCE" && !slices.Equal(got.Missing, []string{r.name}) || r.name == "" && len(got.Missing) > 0 {
				t.Errorf("%+v: without %s, missing are %q", kind.conf, r.name, got.Missing)
			}
			for _, action := range anyAction {
				lost := slices.Contains(r.actions, action) && (r.where == "" || kind.where[r.name])
				if err := got.Errors[action]; (err != "") != lost {
					t.Errorf("%+v: without %s, %s: %q; want it to "+
						"fail: %v", kind.conf, r.name, action, err, lost)
				}
			}
		}
	}
}

func tryActions(t *testing.T) tried {
	got := tried{Errors: map[string]string{}}
	for _, r := range MissingPrivileges("/proc") {
		if r.Name != "CAP_SYS_RESOURCE" { // a test's machine may have no such right to give
			got.Missing = append(got.Missing, r.Name)
		}
	}
	var pids []int
	for f := range strings.FieldsSeq(os.Getenv("HAPRESSURE_PIDS")) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	s := haproxy.NewScanner("/proc")
	var workers [2]haproxy.Worker // the two that are stopping
	found, err := s.Scan(t.Context(), pids)
	if err == nil {
		all := found[0].Workers
		copy(workers[:], all[len(all)-3:])
	}
	do := func(w haproxy.Worker, action string, fn func(*haproxy.Stopping) error) {
		if err != nil {
			got.Errors[action] = err.Error()
			return
		}
		p, err := s.Recheck(t.Context(), w)
		if err == nil {
			err = fn(p)
			p.Close()
		}
		if err != nil {
			got.Errors[action] += err.Error()
		}
	}
	first, second := workers[0], workers[1]
	do(first, "protect", func(p *haproxy.Stopping) error { _, err := p.Protect(1000); return err })
	do(first, "purge-ssl-cache", func(p *haproxy.Stopping) error {
		return persevere(func() error { _, err := p.PurgeSSLCache(t.Context(), pids); return err })
	})
	do(first, "purge-http-cache", func(p *haproxy.Stopping) error {
		return persevere(func() error { _, err := p.PurgeHTTPCaches(t.Context(), pids); return err })
	})
	do(first, "trim-pools", func(p *haproxy.Stopping) error { _, err := p.TrimPools(t.Context()); return err })
	do(first, "cold", func(p *haproxy.Stopping) error { return p.Cold(t.Context()) })
	do(first, "page-out", func(p *haproxy.Stopping) error {
		pace := haproxy.PageOutPace{PerSecond: 1 << 30, Busy: 1e6}
		_, err := p.PageOut(t.Context(), pace, func() error { return nil })
		return err
	})
	// hard-stop-after drains, then terminates. A drained worker is often faster than a
	// signal: another shows whether that comes.
	do(first, "hard-stop-after", func(p *haproxy.Stopping) error {
		r, err := p.Replaced()
		if err == nil {
			_, err = r.Drain(t.Context(), haproxy.Pace{})
		}
		return err
	})
	do(second, "hard-stop-after", func(p *haproxy.Stopping) error {
		_, err := p.TrimPools(t.Context()) // is a signal
		return err
	})
	do(second, "terminate-oldest", func(p *haproxy.Stopping) error {
		r, err := p.Replaced()
		if err == nil {
			_, err = r.Terminate(t.Context(), 0)
		}
		return err
	})
	return got
}

// persevere repeats a purge while a thread of the worker gets no CPU in time to stop.
// Without a right that it needs it fails otherwise.
func persevere(purge func() error) error {
	for end := time.Now().Add(haproxytest.Deadline); ; {
		err := purge()
		if err == nil || !strings.Contains(err.Error(), "did not stop "+
			"within") || time.Now().After(end) {
			return err
		}
	}
}

// There is no way back from 3 on a real kernel.
func TestMissingPrivilegesReadYama(t *testing.T) {
	procfs := t.TempDir()
	dir := filepath.Join(procfs, "sys/kernel/yama")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, scope := range []string{"1", "3"} {
		if err := os.WriteFile(filepath.Join(dir, "ptrace_scope"), []byte(scope+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		missing := slices.ContainsFunc(MissingPrivileges(procfs), func(r status.Privilege) bool { return r.Name == "kernel.yama.ptrace_scope" })
		if missing != (scope == "3") {
			t.Errorf("scope %s: missing is %v", scope, missing)
		}
	}
}

// What is documented and what the service has is what was found out here.
func TestPrivilegesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/packaging.md")
	if err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile("../packaging/hapressure.service")
	if err != nil {
		t.Fatal(err)
	}
	var want, caps []string
	rows := regexp.MustCompile(`(?m)^\| (CAP_\w+|\w+\(2\)|kernel\.\S+) .*$`).FindAllString(string(doc), -1)
	for _, r := range privileges {
		actions := strings.Join(r.actions, ", ")
		if len(r.actions) == len(anyAction) {
			actions = "all"
		}
		want = append(want, fmt.Sprintf("| %s | %s "+
			"| %s |", r.name, strings.TrimSpace(actions+" "+r.where), r.why))
		if strings.HasPrefix(r.name, "CAP_") {
			caps = append(caps, r.name)
		}
	}
	if !slices.Equal(rows, want) {
		t.Errorf("docs/packaging.md "+
			"has\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
	has := strings.Fields(regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindStringSubmatch(string(unit))[1])
	slices.Sort(has)
	slices.Sort(caps)
	if !slices.Equal(has, caps) {
		t.Errorf("the service has %q, want %q", has, caps)
	}
}
