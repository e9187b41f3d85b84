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

func recogniseHTTPAt(mem []byte) (*shctx.Cache, error) { return cachetest.Memory(mem).HTTPCache() }

func TestRecogniseHTTP(t *testing.T) {
	const blocks = 2000
	u64, u32, u16 := binary.LittleEndian.PutUint64, binary.LittleEndian.PutUint32,
		binary.LittleEndian.PutUint16
	tests := []struct {
		name   string
		change func(l shctx.HTTPLayout, mem []byte)
		reason string // "" = recognised
	}{
		{"unused", func(shctx.HTTPLayout, []byte) {}, ""},
		{"an object", func(l shctx.HTTPLayout, m []byte) {
			u64(m[l.LastTree():],
				cachetest.Start+uint64(l.FirstBlock+l.Node))
		}, ""},
		{"many objects", func(l shctx.HTTPLayout, m []byte) {
			u64(m[l.LastTree():], cachetest.Start+uint64(l.FirstBlock+shctx.HTTPStride+l.Node)+1)
		}, ""},
		{"an object in hand", func(l shctx.HTTPLayout, m []byte) { u32(m[l.NBAV:], blocks-5) }, ""},
		{"a TLS session cache's blocks", func(l shctx.HTTPLayout, m []byte) {
			u16(m[l.BlockSize:],
				shctx.SSLBlockSize)
		}, shctx.NoHTTPCache},
		{"nothing", func(l shctx.HTTPLayout, m []byte) { clear(m) }, shctx.NoHTTPCache},
		{"a longer lock (DEBUG_THREAD)", func(l shctx.HTTPLayout, m []byte) {
			copy(m[8:],
				bytes.Clone(m[:len(m)-8]))
		}, shctx.NoHTTPCache},
		{"a callback that is not code", func(l shctx.HTTPLayout, m []byte) {
			u64(m[l.FreeBlock:],
				cachetest.Code+1)
		}, shctx.UnknownLayout},
		{"another count of blocks", func(l shctx.HTTPLayout, m []byte) {
			u32(m[l.MaxBlocks:],
				blocks+10)
		}, shctx.UnknownLayout},
		{"no blocks", func(l shctx.HTTPLayout, m []byte) { u32(m[l.MaxBlocks:], 0) },
			shctx.UnknownLayout},
		{"limits of object size that differ", func(l shctx.HTTPLayout, m []byte) {
			u32(m[l.MaxObj:],
				cachetest.Limit+1)
		}, shctx.UnknownLayout},
		{"no limit of object size", func(l shctx.HTTPLayout, m []byte) {
			u32(m[l.MaxObj:],
				0)
			u32(m[l.MaxBlocks+4:], 0)
		}, shctx.UnknownLayout},
		{"a tree of unique keys", func(l shctx.HTTPLayout, m []byte) { u64(m[l.LastTree()+8:], 1) },
			shctx.UnknownLayout},
		{"a tree that points outside", func(l shctx.HTTPLayout, m []byte) {
			u64(m[l.LastTree():],
				cachetest.Start+uint64(len(m)))
		}, shctx.UnknownLayout},
		{"a tree that points at a block", func(l shctx.HTTPLayout, m []byte) {
			u64(m[l.LastTree():],
				cachetest.Start+uint64(l.FirstBlock))
		}, shctx.UnknownLayout},
		{"a list that points outside", func(l shctx.HTTPLayout, m []byte) {
			u64(m[shctx.OffAvail:],
				cachetest.Start-8)
		}, shctx.UnknownLayout},
		{"a list without blocks", func(l shctx.HTTPLayout, m []byte) {
			u64(m[shctx.OffAvail+8:],
				cachetest.Start+shctx.OffAvail)
		}, shctx.UnknownLayout},
		{"more blocks available than there are", func(l shctx.HTTPLayout,
			m []byte) {
			u32(m[l.NBAV:], blocks+1)
		}, shctx.UnknownLayout},
	}
	for _, l := range shctx.HTTPLayouts {
		for _, tt := range tests {
			mem := cachetest.HTTP(l, blocks)
			tt.change(l, mem)
			c, err := recogniseHTTPAt(mem)
			if tt.reason == "" && (err != nil || c.Blocks != blocks || c.Layout != l.Layout ||
				c.Empty) {
				t.Errorf("%s, %s: %+v, %v", l.Name, tt.name, c, err)
			}
			if tt.reason != "" && !shctx.IsRefusal(err, tt.reason) {
				t.Errorf("%s, %s: %+v, %v, want refusal %q", l.Name, tt.name, c, err, tt.reason)
			}
		}
		mem := cachetest.HTTP(l, blocks)
		if l.Self != 0 {
			u64(mem[l.Self:], cachetest.Start)
			if _, err := recogniseHTTPAt(mem); !shctx.IsRefusal(err, shctx.UnknownLayout) {
				t.Errorf("%s, callbacks for something else: %v", l.Name, err)
			}
			mem = cachetest.HTTP(l, blocks)
			mem[l.Vary] = 1
			if _, err := recogniseHTTPAt(mem); !shctx.IsRefusal(err, shctx.VaryCache) {
				t.Errorf("%s, process-vary: %v", l.Name, err)
			}
		}
		mem = cachetest.HTTP(l, blocks)
		// the first block was just taken
		u64(mem[shctx.OffAvail:], cachetest.Start+uint64(l.FirstBlock+shctx.HTTPStride))
		if _, err := recogniseHTTPAt(mem); !errors.Is(err, shctx.ErrUnstable) {
			t.Errorf("%s, a list that changes: %v, want ErrUnstable", l.Name, err)
		}
	}
}

// Every store of clear can be the last. After the first one a later purge continues;
// after any other one the cache is left alone for ever, because from then on nbav does
// not show whether a response is being served.
func TestClearHTTPCanBeCutShortAnywhere(t *testing.T) {
	for _, l := range shctx.HTTPLayouts {
		full := cachetest.HTTP(l, 2000)
		// an object
		binary.LittleEndian.PutUint64(full[l.LastTree():],
			cachetest.Start+uint64(l.FirstBlock+l.Node))
		h := shctx.Header{Page: bytes.Clone(full), Layout: l.Layout, Start: cachetest.Start,
			Blocks: 2000}
		if err := h.Clear(); err != nil {
			t.Fatal(err)
		}
		done, mem := h.Page, bytes.Clone(full)
		stores := cachetest.HTTPStores(l.Layout)
		for i, st := range stores {
			copy(mem[st[0]:st[0]+st[1]], done[st[0]:])
			c, err := recogniseHTTPAt(mem)
			if err != nil || c.Empty != (i == len(stores)-1) {
				t.Fatalf("%s after store %d: %+v, %v", l.Name, i+1, c, err)
			}
			again := shctx.Header{Page: bytes.Clone(mem), Layout: l.Layout, Start: cachetest.Start,
				Blocks: c.Blocks}
			err = again.Clear()
			if i == 0 && (err != nil || !bytes.Equal(again.Page, done)) {
				t.Errorf("%s after store 1: clearing again: %v", l.Name, err)
			}
			if i > 0 && (!errors.Is(err, shctx.ErrBusy) || !bytes.Equal(again.Page, mem)) {
				t.Errorf("%s after store %d: clearing again: %v", l.Name, i+1, err)
			}
		}
		if !bytes.Equal(mem, done) {
			t.Errorf("%s: clear wrote more than its stores", l.Name)
		}
	}
}

func TestClearHTTPLeavesABusyCacheAlone(t *testing.T) {
	u64, u32 := binary.LittleEndian.PutUint64, binary.LittleEndian.PutUint32
	tests := []struct {
		name   string
		change func(l shctx.HTTPLayout, mem []byte)
	}{
		{"lock held", func(l shctx.HTTPLayout, m []byte) { u64(m, 4) }},
		{"one block in hand", func(l shctx.HTTPLayout, m []byte) { u32(m[l.NBAV:], 2000-1) }},
		{"all blocks in hand", func(l shctx.HTTPLayout, m []byte) { u32(m[l.NBAV:], 0) }},
		{"hot list or lock of a tree in use", func(l shctx.HTTPLayout, m []byte) {
			u64(m[max(l.Hot, l.LastTree()*min(l.Trees, 1)+shctx.TreeLock):], 4)
		}},
		{"object to be cleaned up", func(l shctx.HTTPLayout, m []byte) {
			u64(m[max(l.Hot, (l.LastTree()+shctx.TreeCleanup)*min(l.Trees, 1)):],
				cachetest.Start+4096)
		}},
		{"cleanup lock held", func(l shctx.HTTPLayout, m []byte) {
			u64(m[max(l.Hot, (l.LastTree()+shctx.TreeCleanupLock)*min(l.Trees, 1)):], 4)
		}},
	}
	for _, tt := range tests {
		for _, l := range shctx.HTTPLayouts {
			mem := cachetest.HTTP(l, 2000)
			tt.change(l, mem)
			h := shctx.Header{Page: bytes.Clone(mem), Layout: l.Layout, Start: cachetest.Start,
				Blocks: 2000}
			if err := h.Clear(); !errors.Is(err, shctx.ErrBusy) || !bytes.Equal(h.Page, mem) {
				t.Errorf("%s, %s: %v; written: %v", l.Name, tt.name, err, !bytes.Equal(h.Page, mem))
			}
		}
	}
}

func FuzzRecogniseHTTP(f *testing.F) {
	for _, l := range shctx.HTTPLayouts {
		f.Add(cachetest.HTTP(l, 9))
	}
	f.Fuzz(func(t *testing.T, mem []byte) {
		c, err := recogniseHTTPAt(mem)
		if err != nil {
			return
		}
		h := *c.Header(bytes.Clone(mem[:os.Getpagesize()]), cachetest.Start)
		if err := h.Clear(); err != nil {
			return
		}
		copy(mem, h.Page)
		if c, err := recogniseHTTPAt(mem); err != nil || !c.Empty {
			t.Errorf("cleared, but: %+v, %v", c, err)
		}
	})
}
