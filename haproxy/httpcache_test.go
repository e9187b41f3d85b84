package haproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// writeHTTPCache lays out an unused cache of n blocks in mem, at address start, as shctx_init and post_check_cache do, leaving the callbacks
// and the configuration alone.
func writeHTTPCache(mem []byte, l layout, start uint64, n int, limit uint32) {
	put := func(off int, v uint64) { binary.LittleEndian.PutUint64(mem[off:], v) }
	addr := func(i int) uint64 {
		if i < 0 || i >= n {
			return start + offAvail
		}
		return start + uint64(l.firstBlock+i*httpStride)
	}
	for i := range n {
		off := l.firstBlock + i*httpStride
		clear(mem[off : off+blockHeader])
		put(off, addr(i+1))
		put(off+8, addr(i-1))
		binary.LittleEndian.PutUint32(mem[off+20:], 1)
	}
	put(offAvail, addr(0))
	put(offAvail+8, addr(n-1))
	selfLink := func(off int) { put(off, start+uint64(off)); put(off+8, start+uint64(off)) }
	if l.hot != 0 {
		selfLink(l.hot)
	}
	for i := range max(l.trees, 1) {
		put(l.tree(i), 0)
		put(l.tree(i)+8, 0)
		if l.trees > 0 {
			selfLink(l.tree(i) + treeCleanup)
		}
	}
	binary.LittleEndian.PutUint32(mem[l.maxObj:], limit)
	binary.LittleEndian.PutUint32(mem[l.nbav:], uint32(n))
}

const fakeLimit = 65_536

// fakeHTTPCache is an HTTP cache as a worker of that layout would have it.
func fakeHTTPCache(l httpLayout, blocks int) []byte {
	mem := make([]byte, (l.firstBlock+blocks*httpStride+int(pageSize)-1)/int(pageSize)*int(pageSize))
	writeHTTPCache(mem, l.layout, fakeStart, blocks, fakeLimit)
	binary.LittleEndian.PutUint16(mem[l.blockSize:], httpBlockSize)
	binary.LittleEndian.PutUint64(mem[l.freeBlock:], fakeCode)
	if l.reserveFinish != 0 {
		binary.LittleEndian.PutUint64(mem[l.reserveFinish:], fakeCode)
		binary.LittleEndian.PutUint64(mem[l.self:], fakeStart+uint64(l.root))
	}
	binary.LittleEndian.PutUint32(mem[l.maxBlocks:], uint32(blocks))
	binary.LittleEndian.PutUint32(mem[l.maxBlocks+4:], fakeLimit)
	return mem
}

func recogniseHTTPAt(mem []byte) (*Cache, error) {
	return recogniseHTTP(bytes.NewReader(mem), fakeStart, uint64(len(mem)), isFakeCode)
}

// lastTree is where the last tree of the layout lies.
func lastTree(l httpLayout) int { return l.tree(max(l.trees, 1) - 1) }

func TestRecogniseHTTP(t *testing.T) {
	const blocks = 2000
	u64, u32, u16 := binary.LittleEndian.PutUint64, binary.LittleEndian.PutUint32, binary.LittleEndian.PutUint16
	tests := []struct {
		name   string
		change func(l httpLayout, mem []byte)
		reason string // "" = recognised
	}{
		{"unused", func(httpLayout, []byte) {}, ""},
		{"an object", func(l httpLayout, m []byte) { u64(m[lastTree(l):], fakeStart+uint64(l.firstBlock+l.node)) }, ""},
		{"many objects", func(l httpLayout, m []byte) { u64(m[lastTree(l):], fakeStart+uint64(l.firstBlock+httpStride+l.node)+1) }, ""},
		{"an object in hand", func(l httpLayout, m []byte) { u32(m[l.nbav:], blocks-5) }, ""},
		{"a TLS session cache's blocks", func(l httpLayout, m []byte) { u16(m[l.blockSize:], sslBlockSize) }, NoHTTPCache},
		{"nothing", func(l httpLayout, m []byte) { clear(m) }, NoHTTPCache},
		{"a longer lock (DEBUG_THREAD)", func(l httpLayout, m []byte) { copy(m[8:], bytes.Clone(m[:len(m)-8])) }, NoHTTPCache},
		{"a callback that is not code", func(l httpLayout, m []byte) { u64(m[l.freeBlock:], fakeCode+1) }, UnknownLayout},
		{"another count of blocks", func(l httpLayout, m []byte) { u32(m[l.maxBlocks:], blocks+10) }, UnknownLayout},
		{"no blocks", func(l httpLayout, m []byte) { u32(m[l.maxBlocks:], 0) }, UnknownLayout},
		{"limits of object size that differ", func(l httpLayout, m []byte) { u32(m[l.maxObj:], fakeLimit+1) }, UnknownLayout},
		{"no limit of object size", func(l httpLayout, m []byte) { u32(m[l.maxObj:], 0); u32(m[l.maxBlocks+4:], 0) }, UnknownLayout},
		{"a tree of unique keys", func(l httpLayout, m []byte) { u64(m[lastTree(l)+8:], 1) }, UnknownLayout},
		{"a tree that points outside", func(l httpLayout, m []byte) { u64(m[lastTree(l):], fakeStart+uint64(len(m))) }, UnknownLayout},
		{"a tree that points at a block", func(l httpLayout, m []byte) { u64(m[lastTree(l):], fakeStart+uint64(l.firstBlock)) }, UnknownLayout},
		{"a list that points outside", func(l httpLayout, m []byte) { u64(m[offAvail:], fakeStart-8) }, UnknownLayout},
		{"a list without blocks", func(l httpLayout, m []byte) { u64(m[offAvail+8:], fakeStart+offAvail) }, UnknownLayout},
		{"more blocks available than there are", func(l httpLayout, m []byte) { u32(m[l.nbav:], blocks+1) }, UnknownLayout},
	}
	for _, l := range httpLayouts {
		for _, tt := range tests {
			mem := fakeHTTPCache(l, blocks)
			tt.change(l, mem)
			c, err := recogniseHTTPAt(mem)
			if tt.reason == "" && (err != nil || c.Blocks != blocks || c.Layout != l.name || c.Empty) {
				t.Errorf("%s, %s: %+v, %v", l.name, tt.name, c, err)
			}
			if tt.reason != "" && !errorIs(err, tt.reason) {
				t.Errorf("%s, %s: %+v, %v, want refusal %q", l.name, tt.name, c, err, tt.reason)
			}
		}
		mem := fakeHTTPCache(l, blocks)
		if l.self != 0 {
			u64(mem[l.self:], fakeStart)
			if _, err := recogniseHTTPAt(mem); !errorIs(err, UnknownLayout) {
				t.Errorf("%s, callbacks for something else: %v", l.name, err)
			}
			mem = fakeHTTPCache(l, blocks)
			mem[l.vary] = 1
			if _, err := recogniseHTTPAt(mem); !errorIs(err, VaryCache) {
				t.Errorf("%s, process-vary: %v", l.name, err)
			}
		}
		mem = fakeHTTPCache(l, blocks)
		u64(mem[offAvail:], fakeStart+uint64(l.firstBlock+httpStride)) // the first block was just taken
		if _, err := recogniseHTTPAt(mem); !errors.Is(err, ErrUnstable) {
			t.Errorf("%s, a list that changes: %v, want ErrUnstable", l.name, err)
		}
	}
}

// httpStores are where clear stores, in order: offset and length.
func httpStores(l layout) [][2]int {
	stores := [][2]int{{l.maxObj, 4}, {l.nbav, 4}}
	for i := range max(l.trees, 1) {
		stores = append(stores, [2]int{l.tree(i), 8})
	}
	return append(stores, [2]int{offAvail, 8}, [2]int{offAvail + 8, 8})
}

// Every store of clear can be the last. After the first one a later purge goes on; after any other one the cache is left alone for ever,
// because from then on nbav does not tell any more whether a response is being served.
func TestClearHTTPCanBeCutShortAnywhere(t *testing.T) {
	for _, l := range httpLayouts {
		full := fakeHTTPCache(l, 2000)
		binary.LittleEndian.PutUint64(full[lastTree(l):], fakeStart+uint64(l.firstBlock+l.node)) // an object
		h := header{page: bytes.Clone(full), l: l.layout, start: fakeStart, blocks: 2000}
		if err := h.clear(); err != nil {
			t.Fatal(err)
		}
		done, mem := h.page, bytes.Clone(full)
		stores := httpStores(l.layout)
		for i, st := range stores {
			copy(mem[st[0]:st[0]+st[1]], done[st[0]:])
			c, err := recogniseHTTPAt(mem)
			if err != nil || c.Empty != (i == len(stores)-1) {
				t.Fatalf("%s after store %d: %+v, %v", l.name, i+1, c, err)
			}
			again := header{page: bytes.Clone(mem), l: l.layout, start: fakeStart, blocks: c.Blocks}
			err = again.clear()
			if i == 0 && (err != nil || !bytes.Equal(again.page, done)) {
				t.Errorf("%s after store 1: clearing again: %v", l.name, err)
			}
			if i > 0 && (!errors.Is(err, ErrBusy) || !bytes.Equal(again.page, mem)) {
				t.Errorf("%s after store %d: clearing again: %v", l.name, i+1, err)
			}
		}
		if !bytes.Equal(mem, done) {
			t.Errorf("%s: clear wrote more than its stores", l.name)
		}
	}
}

func TestClearHTTPLeavesABusyCacheAlone(t *testing.T) {
	u64, u32 := binary.LittleEndian.PutUint64, binary.LittleEndian.PutUint32
	tests := []struct {
		name   string
		change func(l httpLayout, mem []byte)
	}{
		{"lock held", func(l httpLayout, m []byte) { u64(m, 4) }},
		{"one block in hand", func(l httpLayout, m []byte) { u32(m[l.nbav:], 2000-1) }},
		{"all blocks in hand", func(l httpLayout, m []byte) { u32(m[l.nbav:], 0) }},
		{"hot list or lock of a tree in use", func(l httpLayout, m []byte) { u64(m[max(l.hot, lastTree(l)*min(l.trees, 1)+treeLock):], 4) }},
		{"object to be cleaned up", func(l httpLayout, m []byte) {
			u64(m[max(l.hot, (lastTree(l)+treeCleanup)*min(l.trees, 1)):], fakeStart+4096)
		}},
		{"cleanup lock held", func(l httpLayout, m []byte) { u64(m[max(l.hot, (lastTree(l)+treeCleanupLock)*min(l.trees, 1)):], 4) }},
	}
	for _, tt := range tests {
		for _, l := range httpLayouts {
			mem := fakeHTTPCache(l, 2000)
			tt.change(l, mem)
			h := header{page: bytes.Clone(mem), l: l.layout, start: fakeStart, blocks: 2000}
			if err := h.clear(); !errors.Is(err, ErrBusy) || !bytes.Equal(h.page, mem) {
				t.Errorf("%s, %s: %v; written: %v", l.name, tt.name, err, !bytes.Equal(h.page, mem))
			}
		}
	}
}

func FuzzRecogniseHTTP(f *testing.F) {
	for _, l := range httpLayouts {
		f.Add(fakeHTTPCache(l, 9))
	}
	f.Fuzz(func(t *testing.T, mem []byte) {
		c, err := recogniseHTTPAt(mem)
		if err != nil {
			return
		}
		h := header{page: bytes.Clone(mem[:pageSize]), l: c.layout, start: fakeStart, blocks: c.Blocks}
		if err := h.clear(); err != nil {
			return
		}
		copy(mem, h.page)
		if c, err := recogniseHTTPAt(mem); err != nil || !c.Empty {
			t.Errorf("cleared, but: %+v, %v", c, err)
		}
	})
}
