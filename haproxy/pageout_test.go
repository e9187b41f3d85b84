package haproxy

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
	"hapressure/tests/haproxytest"
)

// unbounded is a pace at which a page-out does not pause.
var unbounded = PageOutPace{PerSecond: 1 << 40, Busy: 1e6}

func mayAlways() error { return nil }

// Private memory of the stopping worker goes to swap, and nothing else: neither its
// shared memory nor anything of the worker that serves and of the master.
func TestPageOut(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize})
	tunnels := []net.Conn{h.Tunnel(), h.Tunnel()}
	p := stoppingWorker(t, h)
	tunnels = append(tunnels, h.Tunnel())
	swap := swapOn(t)
	before := status(t, p.w.PID)
	out, err := p.PageOut(t.Context(), unbounded, mayAlways)
	if err != nil || out.More {
		t.Fatalf("%+v, %v", out, err)
	}
	after := status(t, p.w.PID)
	if swap && (out.After > out.Before/2 || out.Freed() == 0 || after.Swap < out.Freed()/2) {
		t.Errorf("%+v: still in RAM %d, in swap %d", out, after.RSSAnon, after.Swap)
	}
	if after.RSSShmem != before.RSSShmem {
		t.Errorf("shared memory in RAM was %d, is %d", before.RSSShmem, after.RSSShmem)
	}
	for _, pid := range h.Pids() {
		if st := status(t, pid); pid != p.w.PID && st.Swap > 0 {
			t.Errorf("pid %d, which is not stopping, has %d bytes in swap", pid, st.Swap)
		}
	}
	for _, c := range tunnels {
		if err := haproxytest.Echo(c); err != nil {
			t.Errorf("tunnel: %v", err)
		}
	}
	if _, err := purge(t.Context(), p, nil); err != nil {
		t.Errorf("purge after it: %v", err)
	}
}

func status(t *testing.T, pid int) proc.Status {
	t.Helper()
	st, err := proc.ReadStatus("/proc", pid)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A worker that uses the CPU would read its memory back at once.
func TestPageOutLeavesABusyWorker(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{})
	tunnel := h.Tunnel()
	p := stoppingWorker(t, h)
	swapOn(t)
	end, ended := make(chan struct{}), make(chan error)
	go func() {
		for {
			if err := haproxytest.Echo(tunnel); err != nil {
				ended <- err
				return
			}
			select {
			case <-end:
				ended <- nil
				return
			default:
			}
		}
	}()
	pace := PageOutPace{PerSecond: 1 << 40, Busy: 1}
	out, err := p.PageOut(t.Context(), pace, mayAlways)
	close(end)
	if err := <-ended; err != nil {
		t.Errorf("tunnel: %v", err)
	}
	if !errors.Is(err, ErrInUse) || Permanent(err) || out.Freed() > 0 {
		t.Errorf("%+v, %v; want nothing done because it is busy", out, err)
	}
	if st := status(t, p.w.PID); st.Swap > 0 {
		t.Errorf("%d bytes are in swap", st.Swap)
	}
}

// A page-out ends as soon as it may not continue, and continues in turns.
func TestPageOutEnds(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{})
	tunnel := h.Tunnel()
	p := stoppingWorker(t, h)
	if !swapOn(t) {
		t.Skip("needs swap")
	}
	enough := errors.New("enough")
	calls := 0
	out, err := p.PageOut(t.Context(), unbounded, func() error {
		if calls++; calls > 1 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || calls != 2 || out.Freed() > advicePiece {
		t.Errorf("%d calls, %+v, %v; want the error of the second call", calls, out, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = p.PageOut(ctx, unbounded, func() error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want it cancelled", err)
	}
	usual := pageOutTime
	defer func() { pageOutTime = usual }()
	pageOutTime = 0
	out, err = p.PageOut(t.Context(), unbounded, mayAlways)
	if err != nil || !out.More || out.Freed() == 0 {
		t.Errorf("in no time: %+v, %v; want a part moved, and more to come", out, err)
	}
	pageOutTime = usual
	out, err = p.PageOut(t.Context(), unbounded, mayAlways)
	if err != nil || out.More || out.After > out.Before/2 {
		t.Errorf("then: %+v, %v; want the rest moved", out, err)
	}
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel: %v", err)
	}
}

// The kernel finds nothing that the stopping worker has referenced since; what others
// have is as before.
func TestCold(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{})
	tunnel := h.Tunnel()
	p := stoppingWorker(t, h)
	current := h.Children()[1]
	before, others := referenced(t, p.w.PID), referenced(t, current)
	if err := p.Cold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := referenced(t, p.w.PID); after > before/2 {
		t.Errorf("of the stopping worker %d bytes were referenced, and %d after it", before, after)
	}
	if after := referenced(t, current); after < others/2 {
		t.Errorf("of the current worker %d bytes were referenced, and %d after it", others, after)
	}
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel: %v", err)
	}
}

// referenced returns how much private anonymous memory the kernel has found in use.
func referenced(t *testing.T, pid int) (sum int) {
	t.Helper()
	b, err := proc.ReadFile("/proc", pid, "smaps")
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if !strings.HasSuffix(f[0], ":") {
			ours = f[1] == "rw-p" && f[4] == "0"
		}
		if ours && f[0] == "Referenced:" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			sum += kb << 10
		}
	}
	return sum
}

// Memory of a process that runs another program by now is left alone.
func TestPagingOnlyOfItsProgram(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{})
	defer h.Tunnel().Close()
	p := stoppingWorker(t, h)
	swapOn(t)
	p.w.exe = "/usr/sbin/other"
	if err := p.Cold(t.Context()); !errors.Is(err, ErrNotStopping) {
		t.Errorf("cold: %v, want ErrNotStopping", err)
	}
	if _, err := p.PageOut(t.Context(), unbounded, mayAlways); !errors.Is(err, ErrNotStopping) {
		t.Errorf("page-out: %v, want ErrNotStopping", err)
	}
	if st := status(t, p.w.PID); st.Swap > 0 {
		t.Errorf("%d bytes are in swap", st.Swap)
	}
}

// swapOn gives the machine some swap until the test ends, and reports whether it could.
func swapOn(t *testing.T) bool {
	file := filepath.Join(t.TempDir(), "swap")
	if err := os.WriteFile(file, make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkswap", file).CombinedOutput(); err != nil {
		t.Fatalf("mkswap: %v\n%s", err, out)
	}
	name, _ := unix.BytePtrFromString(file)
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(name)), 0,
		0); errno != 0 {
		t.Logf("this machine gives no swap (%v): only that nothing is lost is tested", errno)
		return false
	}
	t.Cleanup(func() { unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(name)), 0, 0) })
	return true
}
