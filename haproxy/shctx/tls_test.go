package shctx_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"hapressure/haproxy/shctx"
	"hapressure/tests/cachetest"
)

func recogniseTLS(mem []byte) (*shctx.Cache, error) { return cachetest.Memory(mem).TLSCache() }

// The machine's page decides how much room there may be behind the last block: 4 KiB on
// amd64, up to 64 KiB on arm64.
func TestRecogniseCountsBlocks(t *testing.T) {
	for _, page := range []uint64{4 << 10, 16 << 10, 64 << 10} {
		for _, l := range shctx.TLSLayouts {
			for blocks := 1000; blocks <= 1000+int(page)/shctx.BlockStride+1; blocks++ {
				m := cachetest.Memory(cachetest.TLS(l, blocks, int(page)))
				m.PageSize = page
				c, err := m.TLSCache()
				if err != nil {
					t.Fatalf("%s, %d blocks: %v", l.Name, blocks, err)
				}
				if c.Blocks != uint32(blocks) || c.Layout != l || c.Empty {
					t.Fatalf("%s, %d blocks: %+v", l.Name, blocks, c)
				}
			}
		}
	}
}

// longerLock makes the beginning of the cache in mem what it is in a build whose lock
// takes n bytes.
func longerLock(l shctx.Layout, mem []byte, n int) {
	old := bytes.Clone(mem[:l.FirstBlock])
	to := l.WithLock(n)
	clear(mem[:to.Root])
	copy(mem[n:], old[shctx.OffAvail:l.BlockSize+2])
	copy(mem[to.Root:], old[l.Root:])
	binary.LittleEndian.PutUint64(mem[n:], cachetest.Start+uint64(to.Root)+16)
	binary.LittleEndian.PutUint64(mem[to.Root+16+8:], cachetest.Start+uint64(n))
}

func TestRecogniseRefuses(t *testing.T) {
	u64 := binary.LittleEndian.PutUint64
	u32 := binary.LittleEndian.PutUint32
	u16 := binary.LittleEndian.PutUint16
	tests := []struct {
		name   string
		change func(l shctx.Layout, mem []byte)
		reason string
	}{
		{"an HTTP cache's blocks", func(l shctx.Layout, m []byte) { u16(m[l.BlockSize:], 1024) },
			shctx.HTTPCache},
		{"other blocks", func(l shctx.Layout, m []byte) { u16(m[l.BlockSize:], 328) },
			shctx.OtherBlocks},
		{"a limit of object size", func(l shctx.Layout, m []byte) { u32(m[l.MaxObj:], 1<<20) },
			shctx.OtherBlocks},
		{"a callback that is not code", func(l shctx.Layout, m []byte) {
			u64(m[l.FreeBlock:],
				cachetest.Code+1)
		}, shctx.UnknownLayout},
		{"no callback", func(l shctx.Layout, m []byte) { u64(m[l.FreeBlock:], 0) },
			shctx.UnknownLayout},
		{"a tree with duplicates", func(l shctx.Layout, m []byte) { u64(m[l.Root+8:], 0) },
			shctx.UnknownLayout},
		{"a tree that points outside", func(l shctx.Layout, m []byte) {
			u64(m[l.Root:],
				cachetest.Start+uint64(len(m)))
		}, shctx.UnknownLayout},
		{"a tree that points at a block's list", func(l shctx.Layout, m []byte) {
			u64(m[l.Root:],
				cachetest.Start+uint64(l.FirstBlock))
		}, shctx.UnknownLayout},
		{"a list that points outside", func(l shctx.Layout, m []byte) {
			u64(m[shctx.OffAvail:],
				cachetest.Start-8)
		}, shctx.UnknownLayout},
		{"a list that points between blocks", func(l shctx.Layout,
			m []byte) {
			u64(m[shctx.OffAvail+8:], cachetest.Start+uint64(l.FirstBlock)+8)
		},
			shctx.UnknownLayout},
		{"more blocks available than there are", func(l shctx.Layout, m []byte) {
			u32(m[l.NBAV:],
				20_001)
		}, shctx.UnknownLayout},
		{"no blocks at the end", func(l shctx.Layout, m []byte) { clear(m[len(m)/2:]) },
			shctx.UnknownLayout},
		{"no list", func(l shctx.Layout, m []byte) { clear(m[shctx.OffAvail:][:16]) },
			shctx.UnknownLayout},
		{"nothing", func(l shctx.Layout, m []byte) { clear(m) }, shctx.NotACache},
		{"a lock of another length", func(l shctx.Layout, m []byte) { longerLock(l, m, 56) },
			shctx.DebugBuild},
		{"the longest lock", func(l shctx.Layout, m []byte) { longerLock(l, m, shctx.LockMost) },
			shctx.DebugBuild},
	}
	for _, tt := range tests {
		for _, l := range shctx.TLSLayouts {
			mem := cachetest.TLS(l, 20_000, os.Getpagesize())
			tt.change(l, mem)
			c, err := recogniseTLS(mem)
			var r *shctx.Refusal
			if !errors.As(err, &r) || r.Reason != tt.reason {
				t.Errorf("%s, %s: %+v, %v, want refusal %q", l.Name, tt.name, c, err, tt.reason)
			}
		}
	}
}

// Of several mappings that are refused, the one that is most like a TLS session cache
// gives the reason.
func TestTelling(t *testing.T) {
	order := []string{shctx.NotACache, shctx.OtherBlocks, shctx.HTTPCache, shctx.DebugBuild}
	for i, vague := range order {
		for _, clear := range order[i:] {
			for _, err := range []error{shctx.MoreTelling(shctx.Refuse(vague, ""),
				shctx.Refuse(clear, "")), shctx.MoreTelling(shctx.Refuse(clear, ""),
				shctx.Refuse(vague, ""))} {
				if !shctx.IsRefusal(err, clear) {
					t.Errorf("%s and %s: %v", vague, clear, err)
				}
			}
		}
	}
}

func TestRecogniseSaysWhenTheCacheChanges(t *testing.T) {
	for _, l := range shctx.TLSLayouts {
		mem := cachetest.TLS(l, 20_000, os.Getpagesize())
		// the first block was just taken
		binary.LittleEndian.PutUint64(mem[shctx.OffAvail:],
			cachetest.Start+uint64(l.FirstBlock)+shctx.BlockStride)
		if _, err := recogniseTLS(mem); !errors.Is(err, shctx.ErrUnstable) {
			t.Errorf("%s: %v, want ErrUnstable", l.Name, err)
		}
	}
}

// Every store of clear can be the last: what is left is recognised, and clear finishes
// it.
func TestClearCanBeCutShortAnywhere(t *testing.T) {
	for _, l := range shctx.TLSLayouts {
		full := cachetest.TLS(l, 20_000, os.Getpagesize())
		// a session
		binary.LittleEndian.PutUint64(full[l.Root:],
			cachetest.Start+uint64(l.FirstBlock)+shctx.BlockHeader)
		h := shctx.Header{Page: bytes.Clone(full), Layout: l, Start: cachetest.Start,
			Blocks: 20_000}
		if err := h.Clear(); err != nil {
			t.Fatal(err)
		}
		done := h.Page
		stores := []struct{ off, n int }{{l.NBAV, 4}, {l.Root, 8}, {shctx.OffAvail, 8},
			{shctx.OffAvail + 8, 8}}
		mem := bytes.Clone(full)
		for i, st := range stores {
			copy(mem[st.off:st.off+st.n], done[st.off:])
			c, err := recogniseTLS(mem)
			if err != nil {
				t.Fatalf("%s after store %d: %v", l.Name, i+1, err)
			}
			if last := i == len(stores)-1; c.Empty != last {
				t.Errorf("%s after store %d: empty %v", l.Name, i+1, c.Empty)
			}
			again := shctx.Header{Page: bytes.Clone(mem), Layout: l, Start: cachetest.Start,
				Blocks: c.Blocks}
			if err := again.Clear(); err != nil || !bytes.Equal(again.Page, done) {
				t.Errorf("%s after store %d: clearing again: %v", l.Name, i+1, err)
			}
		}
		if !bytes.Equal(mem, done) {
			t.Errorf("%s: clear wrote more than its four stores", l.Name)
		}
	}
}

func TestClearLeavesABusyCacheAlone(t *testing.T) {
	tests := []struct {
		name   string
		change func(l shctx.Layout, mem []byte)
	}{
		{"lock held for writing", func(l shctx.Layout, m []byte) {
			binary.LittleEndian.PutUint64(m,
				0x500000004)
		}},
		{"lock held by a reader", func(l shctx.Layout, m []byte) {
			binary.LittleEndian.PutUint64(m,
				4)
		}},
		{"blocks in a thread's hands", func(l shctx.Layout,
			m []byte) {
			binary.LittleEndian.PutUint32(m[l.NBAV:], 20_000-1)
		}},
		{"hot list in use", func(l shctx.Layout, m []byte) {
			if l.Hot == 0 {
				binary.LittleEndian.PutUint64(m, 1)
			} else {
				binary.LittleEndian.PutUint64(m[l.Hot:], cachetest.Start+uint64(l.FirstBlock))
			}
		}},
	}
	for _, tt := range tests {
		for _, l := range shctx.TLSLayouts {
			mem := cachetest.TLS(l, 20_000, os.Getpagesize())
			tt.change(l, mem)
			h := shctx.Header{Page: bytes.Clone(mem), Layout: l, Start: cachetest.Start,
				Blocks: 20_000}
			if err := h.Clear(); !errors.Is(err, shctx.ErrBusy) || !bytes.Equal(h.Page, mem) {
				t.Errorf("%s, %s: %v; written: %v", l.Name, tt.name, err, !bytes.Equal(h.Page, mem))
			}
		}
	}
}

func FuzzRecognise(f *testing.F) {
	for _, l := range shctx.TLSLayouts {
		f.Add(cachetest.TLS(l, 40, os.Getpagesize()))
	}
	for _, s := range parseSamples(f) {
		if len(s.mem) <= 64<<10 { // a fuzzer is of no use with an HTTP cache of 4 MiB
			f.Add(s.at(cachetest.Start, cachetest.Code))
		}
	}
	f.Fuzz(func(t *testing.T, mem []byte) {
		c, err := recogniseTLS(mem)
		if err != nil {
			return
		}
		// Whatever is accepted must be safe to clear: all fields inside the first page,
		// and the result is an empty cache.
		h := *c.Header(bytes.Clone(mem[:os.Getpagesize()]), cachetest.Start)
		if err := h.Clear(); err != nil {
			return
		}
		copy(mem, h.Page)
		if c, err := recogniseTLS(mem); err != nil || !c.Empty {
			t.Errorf("cleared, but: %+v, %v", c, err)
		}
	})
}
