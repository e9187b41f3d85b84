package haproxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
	"hapressure/haproxy/shctx"
	"hapressure/tests/cachetest"
	"hapressure/tests/haproxytest"
)

// What is not a stopping worker's TLS session cache is never written: each test here
// compares the process's shared memory, byte for byte, with what it was before.

// sharedSums returns a checksum of each shared writable mapping of p, files too, as the
// process itself sees it.
func sharedSums(t *testing.T, p *Stopping) map[string][32]byte {
	t.Helper()
	all, err := proc.ReadMaps("/proc", p.w.PID,
		func(m proc.Mapping) bool { return m.Perms == "rw-s" })
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(p.p.Path("mem"))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	sums := map[string][32]byte{}
	for _, m := range all {
		b := make([]byte, m.Len())
		if _, err := mem.ReadAt(b, int64(m.Start)); err != nil {
			t.Fatal(err)
		}
		sums[m.File()] = sha256.Sum256(b)
	}
	return sums
}

const twoHTTPCaches = "cache small\n    total-max-size 4\ncache big\n    total-max-size 20\n"

func TestWorkerWithoutTLSCacheIsNotWritten(t *testing.T) {
	tests := []struct{ name, sections, reason string }{
		{"HTTP caches", twoHTTPCaches, shctx.NoCache},
		{"a ring and a stick table",
			"ring r\n    size 1048576\nbackend table\n    stick-table type ip size 100k store " +
				"gpc0\n", shctx.NoCache},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := haproxytest.Start(t, haproxytest.Config{Sections: tt.sections})
			p := open(t, h.Children()[0])
			before := sharedSums(t, p)
			_, err := p.PurgeSSLCache(t.Context(), h.Pids())
			if !shctx.IsRefusal(err, tt.reason) {
				t.Errorf("purge: %v, want refusal %q", err, tt.reason)
			}
			if !maps.Equal(before, sharedSums(t, p)) {
				t.Error("its shared memory was written")
			}
		})
	}
}

// A purge of a worker that has a TLS cache leaves its HTTP caches as they are.
func TestPurgeWritesNothingElse(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize, Sections: twoHTTPCaches})
	p := open(t, h.Children()[0])
	c, err := findTLSCache(p.p, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	tls := c.Mapping.File()
	c.Close()
	before := sharedSums(t, p)
	if len(before) != 3 {
		t.Fatalf("%d shared mappings, want 3", len(before))
	}
	if _, err := purge(t.Context(), p, h.Pids()); err != nil {
		t.Fatal(err)
	}
	after := sharedSums(t, p)
	if before[tls] == after[tls] {
		t.Error("the TLS cache was not emptied")
	}
	delete(before, tls)
	delete(after, tls)
	if !maps.Equal(before, after) {
		t.Error("other shared memory was written")
	}
}

// The rest is done to a process that is not HAProxy: this test binary, executed again,
// with a perfect copy of a cache.

func init() {
	if kind := os.Getenv("HAPRESSURE_LOOKALIKE"); kind != "" {
		if err := lookalike(kind); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// lookalike maps a copy of an unused cache, says "ready", and obeys the lines of its
// standard input until that ends.
func lookalike(kind string) error {
	switch kind {
	case "master":
		return fakeMaster()
	case "master again":
		return fakeMasterAgain()
	case "serving":
		return serving()
	}
	size := uintptr(8 << 20)
	flags, fd := unix.MAP_SHARED|unix.MAP_ANON, -1
	if root, ok := strings.CutPrefix(kind, "chroot "); ok {
		if err := errors.Join(unix.Chroot(root), unix.Chdir("/")); err != nil {
			return err
		}
	}
	switch kind {
	case "private":
		flags = unix.MAP_PRIVATE | unix.MAP_ANON
	case "memfd":
		var err error
		if fd, err = unix.MemfdCreate("/dev/zero (deleted)", 0); err != nil {
			return err
		}
		if err := unix.Ftruncate(fd, int64(size)); err != nil {
			return err
		}
		flags = unix.MAP_SHARED
	case "file of that name":
		// In a mount namespace of its own a process can have any file for /dev/zero. It
		// could truncate the file during a purge.
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "",
			unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("tmpfs", "/dev", "tmpfs", 0, "")); err != nil {
			return err
		}
		f, err := os.Create("/dev/zero")
		if err := errors.Join(err, os.Remove("/dev/zero"), f.Truncate(int64(size))); err != nil {
			return err
		}
		flags, fd = unix.MAP_SHARED, int(f.Fd())
	case "file":
		f, err := os.CreateTemp("/dev/shm", "lookalike")
		if err != nil {
			return err
		}
		os.Remove(f.Name())
		if err := f.Truncate(int64(size)); err != nil {
			return err
		}
		flags, fd = unix.MAP_SHARED, int(f.Fd())
	}
	addr, err := unix.MmapPtr(fd, 0, nil, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return err
	}
	mem := unsafe.Slice((*byte)(addr), size)
	l := shctx.TLSLayouts[0]
	blocks := (len(mem) - l.FirstBlock) / shctx.BlockStride
	cachetest.WriteTLS(mem, l, uint64(uintptr(addr)), blocks)
	code := uint64(reflect.ValueOf(lookalike).Pointer())
	if kind == "other code" {
		f, err := os.Open("/bin/true")
		if err != nil {
			return err
		}
		text, err := unix.MmapPtr(int(f.Fd()), 0, nil, uintptr(pageSize),
			unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		code = uint64(uintptr(text))
	}
	binary.LittleEndian.PutUint64(mem[l.FreeBlock:], code)
	if kind == "read-only" {
		if err := unix.Mprotect(mem, unix.PROT_READ); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "map another":
			if _, err := unix.MmapPtr(-1, 0, addr, size, unix.PROT_READ|unix.PROT_WRITE,
				unix.MAP_SHARED|unix.MAP_ANON|unix.MAP_FIXED); err != nil {
				return err
			}
			for i := range mem {
				mem[i] = 0xa5
			}
		case "map a program":
			f, err := os.Open("/proc/self/exe")
			if err != nil {
				return err
			}
			if _, err := unix.MmapPtr(int(f.Fd()), 0, addr, size, unix.PROT_READ,
				unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
				return err
			}
		case "map it again":
			if _, _, errno := unix.Syscall6(unix.SYS_MREMAP, uintptr(addr), 0, size,
				unix.MREMAP_MAYMOVE, 0, 0); errno != 0 {
				return errno
			}
		case "long command line":
			if err := lengthenCommandLine(uint64(uintptr(addr)), uint64(size)); err != nil {
				return err
			}
		case "vfork":
			debug.SetGCPercent(-1) // it would wait for the thread
			go vfork()
		case "unmap":
			if err := unix.MunmapPtr(addr, size); err != nil {
				return err
			}
		case "become an HTTP cache":
			binary.LittleEndian.PutUint16(mem[l.BlockSize:], 1024)
		}
		fmt.Println("done")
	}
	return in.Err()
}

// lengthenCommandLine makes the size bytes at addr the process's command line, by what
// any process may do (prctl(2), PR_SET_MM_MAP).
func lengthenCommandLine(addr, size uint64) error {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')'):]))
	field := func(n int) (v uint64) { // numbered as in proc_pid_stat(5)
		fmt.Sscan(f[n-2], &v)
		return v
	}
	brk := field(47)
	m := struct {
		addrs    [11]uint64 // of code, data, brk, stack, arguments and environment
		auxv     uint64
		auxvSize uint32
		exe      int32
	}{addrs: [11]uint64{field(26), field(27), field(45), field(46), brk, brk, field(28), addr,
		addr + size, field(50), field(51)}, exe: -1}
	return unix.Prctl(unix.PR_SET_MM, unix.PR_SET_MM_MAP, uintptr(unsafe.Pointer(&m)),
		unsafe.Sizeof(m), 0)
}

// vfork makes a process that shares all memory with this one, and keeps the thread
// waiting for its end.
//
//go:norace
func vfork() {
	runtime.LockOSThread()
	pid, _, _ := unix.RawSyscall6(unix.SYS_CLONE,
		unix.CLONE_VM|unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	for pid == 0 {
		unix.RawSyscall(unix.SYS_PPOLL, 0, 0, 0)
	}
}

type lookalikeProcess struct {
	*Stopping
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

func startLookalike(t *testing.T, kind string) lookalikeProcess {
	t.Helper()
	return startLookalikeAs(t, exec.Command("/proc/self/exe"), kind)
}

func startLookalikeAs(t *testing.T, cmd *exec.Cmd, kind string) lookalikeProcess {
	t.Helper()
	cmd.Env = append(cmd.Environ(), "HAPRESSURE_LOOKALIKE="+kind)
	in, out := haproxytest.StartChild(t, cmd)
	p := lookalikeProcess{open(t, cmd.Process.Pid), t, in, bufio.NewScanner(out)}
	p.hears("ready")
	return p
}

func (p lookalikeProcess) hears(want string) {
	p.t.Helper()
	if !p.out.Scan() || p.out.Text() != want {
		p.t.Fatalf("the lookalike says %q, want %q", p.out.Text(), want)
	}
}

func (p lookalikeProcess) tell(what string) {
	p.t.Helper()
	fmt.Fprintln(p.in, what)
	p.hears("done")
}

func TestLookalikeIsRefused(t *testing.T) {
	for kind, reason := range map[string]string{
		"private":   shctx.NoCache,
		"file":      shctx.NoCache,
		"memfd":     shctx.NoCache,
		"read-only": shctx.NoCache,

		"file of that name": shctx.NoCache,

		"other code": shctx.UnknownLayout, // HAProxy's callback is in HAProxy's own program
	} {
		t.Run(kind, func(t *testing.T) {
			p := startLookalike(t, kind)
			before := sharedSums(t, p.Stopping)
			if _, err := p.PurgeSSLCache(t.Context(), []int{p.w.PID}); !shctx.IsRefusal(err,
				reason) {
				t.Errorf("purge: %v, want refusal %q", err, reason)
			}
			if !maps.Equal(before, sharedSums(t, p.Stopping)) {
				t.Error("its shared memory was written")
			}
		})
	}
}

// A perfect copy is recognised: its structure does not differ. It is not purged because
// it is not a stopping worker, not even as the child of a process that runs the same
// program, which is taken for HAProxy.
func TestLookalikeIsNoStoppingWorker(t *testing.T) {
	p := startLookalike(t, "shared")
	c, err := findTLSCache(p.p, os.O_RDWR)
	if err != nil {
		t.Fatalf("the copy is not perfect: %v", err)
	}
	c.Close()
	s := NewScanner("/proc")
	recognise(t, s, os.Getpid(), p.w.PID)
	found, err := s.Scan(t.Context(), []int{os.Getpid(), p.w.PID})
	if err != nil || len(found) != 1 || !slices.Equal(states(found[0]), []State{StateUnknown}) {
		t.Fatalf("%+v, %v, want one worker of which nothing is known", found, err)
	}
	if _, err := s.Recheck(t.Context(), found[0].Workers[0]); !errors.Is(err, ErrNotStopping) {
		t.Errorf("Recheck: %v, want ErrNotStopping", err)
	}
}

// What comes to lie at the cache's addresses between two steps of a purge is not written.
func TestMappingReplacedDuringAPurge(t *testing.T) {
	t.Run("before it is opened", func(t *testing.T) {
		for _, what := range []string{"map another", "unmap", "map a program"} {
			p := startLookalike(t, "shared")
			shared, err := sharedMappings(p.p)
			if err != nil || len(shared) != 1 {
				t.Fatalf("%v, %v", shared, err)
			}
			p.tell(what)
			if c, err := p.p.OpenMapping(shared[0], os.O_RDWR); !errors.Is(err, proc.ErrChanged) {
				t.Errorf("%s: %+v, %v, want proc.ErrChanged", what, c, err)
			}
		}
	})
	t.Run("after it is recognised", func(t *testing.T) {
		p := startLookalike(t, "shared")
		c, err := findTLSCache(p.p, os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p.tell("map another")
		before := sharedSums(t, p.Stopping)
		// The file that was recognised is what is emptied and swept. No process maps it
		// any more.
		if err := errors.Join(emptied(t, c), c.sweep(t.Context())); err != nil {
			t.Error(err)
		}
		if n, err := c.Resident(); err != nil || n > pageSize {
			t.Errorf("%d bytes left of the file, %v", n, err)
		}
		if !maps.Equal(before, sharedSums(t, p.Stopping)) {
			t.Error("what lies there now was written")
		}
	})
	t.Run("in place", func(t *testing.T) {
		p := startLookalike(t, "shared")
		c, err := findTLSCache(p.p, os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p.tell("become an HTTP cache")
		before := sharedSums(t, p.Stopping)
		if err := emptied(t, c); !shctx.IsRefusal(err, shctx.HTTPCache) {
			t.Errorf("%v, want refusal %q", err, shctx.HTTPCache)
		}
		if !maps.Equal(before, sharedSums(t, p.Stopping)) {
			t.Error("it was written")
		}
	})
}

// emptied empties a cache, and tries again as a policy does where a thread does not get a
// CPU in time to stop.
func emptied(t *testing.T, c *cacheFile) (err error) {
	for end := time.Now().Add(haproxytest.Deadline); ; {
		if err = c.empty(t.Context(), new(Purged)); !errors.Is(err, ErrCannotStop) ||
			time.Now().After(end) {
			return err
		}
	}
}

// A process that is not HAProxy but maps something similar is refused.
func TestOtherProcessIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("runs another program")
	}
	cmd := exec.Command("python3", "-c", `import mmap,sys
m=mmap.mmap(-1,8<<20); m[56]=200; m[72]=1; print("ready",flush=True); sys.stdin.read()`)
	_, out := haproxytest.StartChild(t, cmd)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p, err := unproven(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.PurgeSSLCache(t.Context(), []int{os.Getpid()})
	if !shctx.IsRefusal(err, shctx.NotACache) {
		t.Errorf("purge of python: %v", err)
	}
}
