// Package shctx recognises the caches that HAProxy keeps in shared memory
// (include/haproxy/shctx.h) and empties their headers. It is pure: bytes in, verdict out.
// It opens no file and no process.
//
//	cache, err := shctx.Memory{...}.TLSCache() // or a *Refusal
//	header := cache.Header(page, start)        // the first page, mapped writable
//	err = header.Clear()                       // while no thread of the worker runs
//
// docs/safety.md explains why the stores are safe.
package shctx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Facts about HAProxy's shared context (include/haproxy/shctx-t.h), the same on every
// 64-bit build. The lock is the first word; the list of available blocks follows it.
//
// Up to 2.4 the lock has 32 bits, and the other half of the word is padding that stays 0.
// That means the same: 0 is free, and each thread that enters changes it first
// (include/haproxy/shctx.h at v2.4.0, _shctx_lock).
const (
	OffLock  = 0
	OffAvail = 8

	BlockHeader = 48   // bytes: offsetof(struct shared_block, data)
	headerBytes = 4096 // the smallest page there is
)

// Layout holds the offsets of the fields of a struct shared_context, in bytes.
type Layout struct {
	Name          string // the releases that have it
	Hot           int    // the list of blocks in use, up to 2.8; 0 = none
	NBAV, MaxObj  int
	MakeRoom      int // callback, from 3.5; 0 = none
	FreeBlock     int // callback
	ReserveFinish int // callback, from 2.9; 0 = none
	BlockSize     int
	Root          int // eb_root of the first tree
	FirstBlock    int

	HTTP  bool // of a `cache` section
	Trees int  // number of trees with locks of their own (struct cache_tree); 0 = one without
}

// Facts about struct cache_tree, from 2.9: eb_root, lock, cleanup_list, cleanup_lock.
const (
	treeStride = 64 // bytes

	TreeLock        = 16
	TreeCleanup     = 24
	TreeCleanupLock = 40
)

// Tree returns the offset of the eb_root of a tree.
func (l Layout) Tree(i int) int { return l.Root + i*treeStride }

// LastTree returns the offset of the eb_root of the last tree.
func (l Layout) LastTree() int { return l.Tree(max(l.Trees, 1) - 1) }

// ErrUnstable means that the memory changed while it was read: the cache is in use.
// Another attempt may succeed.
var ErrUnstable = errors.New("changed while it was read")

// Memory is a shared mapping of a worker, as it is read from outside.
type Memory struct {
	io.ReaderAt
	Start, Length uint64                 // where the worker maps it, in bytes
	PageSize      uint64                 // of the machine, in bytes
	IsCode        func(addr uint64) bool // whether an address is code of the worker's program
}

// Cache is a recognised cache.
type Cache struct {
	Layout Layout
	Blocks uint32 // number of blocks that it was made with
	Empty  bool   // whether its header is that of an emptied cache
}

// checkEnds checks that the first and the last available block point back to the header.
func (m Memory) checkEnds(next, prev uint64) error {
	var b [16]byte
	for _, end := range []struct {
		addr uint64
		back int
	}{{next, 8}, {prev, 0}} {
		if _, err := m.ReadAt(b[:], int64(end.addr-m.Start)); err != nil {
			return fmt.Errorf("reading a block of the cache: %w", err)
		}
		if u64(b[:], end.back) != m.Start+OffAvail {
			return fmt.Errorf("block at %#x does not point back to the list: %w",
				end.addr, ErrUnstable)
		}
	}
	return nil
}

func u64(b []byte, off int) uint64 { return binary.LittleEndian.Uint64(b[off:]) }
func u32(b []byte, off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
func u16(b []byte, off int) uint16 { return binary.LittleEndian.Uint16(b[off:]) }
