package haproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writeCache lays out an unused cache of n blocks in mem as shctx_init does, at address start, leaving the callbacks alone.
func writeCache(mem []byte, l layout, start uint64, n int) error {
	put := func(off int, v uint64) { binary.LittleEndian.PutUint64(mem[off:], v) }
	addr := func(i int) uint64 {
		if i < 0 || i >= n {
			return start + offAvail
		}
		return start + uint64(l.firstBlock+i*blockStride)
	}
	for i := range n {
		off := l.firstBlock + i*blockStride
		clear(mem[off : off+blockStride]) // the first page still holds what it did: HAProxy's own init resets len, too
		put(off, addr(i+1))
		put(off+8, addr(i-1))
		binary.LittleEndian.PutUint32(mem[off+20:], 1)
	}
	put(offAvail, addr(0))
	put(offAvail+8, addr(n-1))
	if l.hot != 0 {
		put(l.hot, start+uint64(l.hot))
		put(l.hot+8, start+uint64(l.hot))
	}
	binary.LittleEndian.PutUint32(mem[l.maxObj:], 0)
	binary.LittleEndian.PutUint16(mem[l.blockSize:], sslBlockSize)
	put(l.root, 0)
	put(l.root+8, 1)
	binary.LittleEndian.PutUint32(mem[l.nbav:], uint32(n))
	return nil
}

const (
	fakeStart = 0x7f0000000000
	fakeCode  = 0x560000001000
)

func isFakeCode(addr uint64) bool { return addr == fakeCode }

// fakeCache is a cache as a worker of that layout would have it.
func fakeCache(t testing.TB, l layout, blocks int) []byte {
	t.Helper()
	size := l.firstBlock + blocks*blockStride
	mem := make([]byte, (size+int(pageSize)-1)/int(pageSize)*int(pageSize))
	if err := writeCache(mem, l, fakeStart, blocks); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint64(mem[l.freeBlock:], fakeCode)
	return mem
}

func recognise(mem []byte) (*Cache, error) {
	return Recognise(bytes.NewReader(mem), fakeStart, uint64(len(mem)), isFakeCode)
}

// The machine's page decides how much room there may be behind the last block: 4 KiB on amd64, up to 64 KiB on arm64.
func TestRecogniseCountsBlocks(t *testing.T) {
	defer func(own uint64) { pageSize = own }(pageSize)
	for _, pageSize = range []uint64{4 << 10, 16 << 10, 64 << 10} {
		for _, l := range layouts {
			for blocks := 1000; blocks <= 1000+int(pageSize)/blockStride+1; blocks++ {
				c, err := recognise(fakeCache(t, l, blocks))
				if err != nil {
					t.Fatalf("%s, %d blocks: %v", l.name, blocks, err)
				}
				if c.Blocks != uint32(blocks) || c.Layout != l.name || c.Empty {
					t.Fatalf("%s, %d blocks: %+v", l.name, blocks, c)
				}
			}
		}
	}
}

// longerLock makes the beginning of the cache in mem what it is in a build whose lock takes n bytes.
func longerLock(l layout, mem []byte, n int) {
	old := bytes.Clone(mem[:l.firstBlock])
	to := l.withLock(n)
	clear(mem[:to.root])
	copy(mem[n:], old[offAvail:l.blockSize+2])
	copy(mem[to.root:], old[l.root:])
	binary.LittleEndian.PutUint64(mem[n:], fakeStart+uint64(to.root)+16)
	binary.LittleEndian.PutUint64(mem[to.root+16+8:], fakeStart+uint64(n))
}

func TestRecogniseRefuses(t *testing.T) {
	u64 := binary.LittleEndian.PutUint64
	u32 := binary.LittleEndian.PutUint32
	u16 := binary.LittleEndian.PutUint16
	tests := []struct {
		name   string
		change func(l layout, mem []byte)
		reason string
	}{
		{"an HTTP cache's blocks", func(l layout, m []byte) { u16(m[l.blockSize:], 1024) }, HTTPCache},
		{"other blocks", func(l layout, m []byte) { u16(m[l.blockSize:], 328) }, OtherBlocks},
		{"a limit of object size", func(l layout, m []byte) { u32(m[l.maxObj:], 1<<20) }, OtherBlocks},
		{"a callback that is not code", func(l layout, m []byte) { u64(m[l.freeBlock:], fakeCode+1) }, UnknownLayout},
		{"no callback", func(l layout, m []byte) { u64(m[l.freeBlock:], 0) }, UnknownLayout},
		{"a tree with duplicates", func(l layout, m []byte) { u64(m[l.root+8:], 0) }, UnknownLayout},
		{"a tree that points outside", func(l layout, m []byte) { u64(m[l.root:], fakeStart+uint64(len(m))) }, UnknownLayout},
		{"a tree that points at a block's list", func(l layout, m []byte) { u64(m[l.root:], fakeStart+uint64(l.firstBlock)) }, UnknownLayout},
		{"a list that points outside", func(l layout, m []byte) { u64(m[offAvail:], fakeStart-8) }, UnknownLayout},
		{"a list that points between blocks", func(l layout, m []byte) { u64(m[offAvail+8:], fakeStart+uint64(l.firstBlock)+8) }, UnknownLayout},
		{"more blocks available than there are", func(l layout, m []byte) { u32(m[l.nbav:], 20_001) }, UnknownLayout},
		{"no blocks at the end", func(l layout, m []byte) { clear(m[len(m)/2:]) }, UnknownLayout},
		{"no list", func(l layout, m []byte) { clear(m[offAvail:][:16]) }, UnknownLayout},
		{"nothing", func(l layout, m []byte) { clear(m) }, NotACache},
		{"a lock of another length", func(l layout, m []byte) { longerLock(l, m, 56) }, DebugBuild},
		{"the longest lock", func(l layout, m []byte) { longerLock(l, m, lockMost) }, DebugBuild},
	}
	for _, tt := range tests {
		for _, l := range layouts {
			mem := fakeCache(t, l, 20_000)
			tt.change(l, mem)
			c, err := recognise(mem)
			var r *Refusal
			if !errors.As(err, &r) || r.Reason != tt.reason {
				t.Errorf("%s, %s: %+v, %v, want refusal %q", l.name, tt.name, c, err, tt.reason)
			}
		}
	}
}

// Of several mappings that are refused, the one that is most like a TLS session cache gives the reason.
func TestTelling(t *testing.T) {
	order := []string{NotACache, OtherBlocks, HTTPCache, DebugBuild}
	for i, vague := range order {
		for _, clear := range order[i:] {
			for _, err := range []error{telling(refuse(vague, ""), refuse(clear, "")), telling(refuse(clear, ""), refuse(vague, ""))} {
				if !errorIs(err, clear) {
					t.Errorf("%s and %s: %v", vague, clear, err)
				}
			}
		}
	}
}

func TestRecogniseSaysWhenTheCacheChanges(t *testing.T) {
	for _, l := range layouts {
		mem := fakeCache(t, l, 20_000)
		binary.LittleEndian.PutUint64(mem[offAvail:], fakeStart+uint64(l.firstBlock)+blockStride) // the first block was just taken
		if _, err := recognise(mem); !errors.Is(err, ErrUnstable) {
			t.Errorf("%s: %v, want ErrUnstable", l.name, err)
		}
	}
}

// Every store of clear can be the last: what is left is recognised, and clear finishes it.
func TestClearCanBeCutShortAnywhere(t *testing.T) {
	for _, l := range layouts {
		full := fakeCache(t, l, 20_000)
		binary.LittleEndian.PutUint64(full[l.root:], fakeStart+uint64(l.firstBlock)+blockHeader) // a session
		h := header{page: bytes.Clone(full), l: l, start: fakeStart, blocks: 20_000}
		if err := h.clear(); err != nil {
			t.Fatal(err)
		}
		done := h.page
		stores := []struct{ off, n int }{{l.nbav, 4}, {l.root, 8}, {offAvail, 8}, {offAvail + 8, 8}}
		mem := bytes.Clone(full)
		for i, st := range stores {
			copy(mem[st.off:st.off+st.n], done[st.off:])
			c, err := recognise(mem)
			if err != nil {
				t.Fatalf("%s after store %d: %v", l.name, i+1, err)
			}
			if last := i == len(stores)-1; c.Empty != last {
				t.Errorf("%s after store %d: empty %v", l.name, i+1, c.Empty)
			}
			again := header{page: bytes.Clone(mem), l: l, start: fakeStart, blocks: c.Blocks}
			if err := again.clear(); err != nil || !bytes.Equal(again.page, done) {
				t.Errorf("%s after store %d: clearing again: %v", l.name, i+1, err)
			}
		}
		if !bytes.Equal(mem, done) {
			t.Errorf("%s: clear wrote more than its four stores", l.name)
		}
	}
}

func TestClearLeavesABusyCacheAlone(t *testing.T) {
	tests := []struct {
		name   string
		change func(l layout, mem []byte)
	}{
		{"lock held for writing", func(l layout, m []byte) { binary.LittleEndian.PutUint64(m, 0x500000004) }},
		{"lock held by a reader", func(l layout, m []byte) { binary.LittleEndian.PutUint64(m, 4) }},
		{"blocks in a thread's hands", func(l layout, m []byte) { binary.LittleEndian.PutUint32(m[l.nbav:], 20_000-1) }},
		{"hot list in use", func(l layout, m []byte) {
			if l.hot == 0 {
				binary.LittleEndian.PutUint64(m, 1)
			} else {
				binary.LittleEndian.PutUint64(m[l.hot:], fakeStart+uint64(l.firstBlock))
			}
		}},
	}
	for _, tt := range tests {
		for _, l := range layouts {
			mem := fakeCache(t, l, 20_000)
			tt.change(l, mem)
			h := header{page: bytes.Clone(mem), l: l, start: fakeStart, blocks: 20_000}
			if err := h.clear(); !errors.Is(err, ErrBusy) || !bytes.Equal(h.page, mem) {
				t.Errorf("%s, %s: %v; written: %v", l.name, tt.name, err, !bytes.Equal(h.page, mem))
			}
		}
	}
}

func FuzzRecognise(f *testing.F) {
	for _, l := range layouts {
		f.Add(fakeCache(f, l, 40))
	}
	for _, s := range parseSamples(f) {
		if len(s.mem) <= 64<<10 { // a fuzzer is of no use with an HTTP cache of 4 MiB
			f.Add(s.at(fakeStart, fakeCode))
		}
	}
	f.Fuzz(func(t *testing.T, mem []byte) {
		c, err := recognise(mem)
		if err != nil {
			return
		}
		// Whatever is accepted must be safe to clear: all fields inside the first page, and the result is an empty cache.
		h := header{page: bytes.Clone(mem[:pageSize]), l: c.layout, start: fakeStart, blocks: c.Blocks}
		if err := h.clear(); err != nil {
			return
		}
		copy(mem, h.page)
		if c, err := recognise(mem); err != nil || !c.Empty {
			t.Errorf("cleared, but: %+v, %v", c, err)
		}
	})
}

// never finds no reason to let a worker go.
func never() error { return nil }

// dieStopped stops every thread of p from a thread that then ends without detaching.
func dieStopped(t *testing.T, p *Process) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			dieStopped(t, p) // the first thread does not end with its goroutine: while it is held here, another is found
			done <- nil
			return
		}
		f, err := p.newFreezer(never)
		if err != nil {
			done <- err
			return
		}
		defer f.close()
		d, err := armDeadman(f.limit)
		if err != nil {
			done <- err
			return
		}
		f.began = time.Now()
		done <- f.stopAll(d)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A process that is not HAProxy but maps something similar is refused.
func TestOtherProcessIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("runs another program")
	}
	cmd := exec.Command("python3", "-c", `import mmap,sys
m=mmap.mmap(-1,8<<20); m[56]=200; m[72]=1; print("ready",flush=True); sys.stdin.read()`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	p, err := OpenProcess("/proc", ID{PID: cmd.Process.Pid})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.PurgeSSLCache(t.Context(), []int{os.Getpid()})
	if !errorIs(err, NotACache) {
		t.Errorf("purge of python: %v", err)
	}
}
