package shctx

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// ErrBusy means that the cache was in use. Another attempt may succeed.
var ErrBusy = errors.New("cache is in use")

// Header is the first page of a recognised cache, mapped writable.
type Header struct {
	Page   []byte
	Layout Layout
	Start  uint64 // address of the page in the worker
	Blocks uint32
}

// Header returns the cache's header. The worker maps page at the address start.
func (c *Cache) Header(page []byte, start uint64) *Header {
	return &Header{Page: page, Layout: c.Layout, Start: start, Blocks: c.Blocks}
}

func (h *Header) u32(off int) *uint32 { return (*uint32)(unsafe.Pointer(&h.Page[off])) }
func (h *Header) u64(off int) *uint64 { return (*uint64)(unsafe.Pointer(&h.Page[off])) }

// Idle returns nil if nothing of the cache is in use, and ErrBusy otherwise. It only
// reads, so it may be called while threads run.
//
// In an idle cache the locks are free: no thread is between taking and releasing one. And
// every block is available: no thread or stream has taken blocks that it must put back.
// The second check is needed because a store from 2.9 on releases the lock in between.
//
// Called after each stop of a thread, it protects the worker from its own watchdog. If
// the thread that was stopped first holds the lock, the others spin on it, and HAProxy
// aborts after some seconds.
func (h *Header) Idle() error {
	l, nbav := h.Layout, *h.u32(h.Layout.NBAV)
	if atomic.LoadUint64(h.u64(OffLock)) != 0 || nbav != h.Blocks && (nbav != 0 || l.HTTP) {
		return ErrBusy
	}
	if l.Hot != 0 && !h.isEmptyList(l.Hot) {
		return ErrBusy
	}
	for i := range l.Trees {
		tree := l.Tree(i)
		if *h.u64(tree + TreeLock) != 0 || *h.u64(tree + TreeCleanupLock) != 0 ||
			!h.isEmptyList(tree+TreeCleanup) {
			return ErrBusy
		}
	}
	return nil
}

func (h *Header) isEmptyList(off int) bool {
	self := h.Start + uint64(off)
	return *h.u64(off) == self && *h.u64(off + 8) == self
}

// Clear empties the header if the cache is idle. Every thread of the worker must be
// stopped.
//
// Each store leaves a cache with which HAProxy can work for ever, should it be the last:
//  1. HTTP only, the limit of object size = 1 byte: storing a response is refused because
//     it is too large; lookups still hit.
//  2. nbav = 0: storing is refused for want of blocks; lookups still hit.
//  3. trees = empty: lookups and removals find nothing. No path leads to a block.
//  4. avail = empty list, as in a cache without blocks. Nothing reads it while nbav is 0.
//
// The locks, b[1] of a tree (unique keys) and the callbacks are never written.
func (h *Header) Clear() error {
	if err := h.Idle(); err != nil {
		return err
	}
	l := h.Layout
	if l.HTTP {
		atomic.StoreUint32(h.u32(l.MaxObj), noObject)
	} else if err := l.matches(h.Page, func(uint64) bool { return true }); err != nil {
		return fmt.Errorf("recognising the cache again: %w", err)
	}
	atomic.StoreUint32(h.u32(l.NBAV), 0)
	for i := range max(l.Trees, 1) {
		// Not atomic: up to 2.8 the tree of an HTTP cache is not aligned to its size.
		*h.u64(l.Tree(i)) = 0
	}
	atomic.StoreUint64(h.u64(OffAvail), h.Start+OffAvail)
	atomic.StoreUint64(h.u64(OffAvail+8), h.Start+OffAvail)
	return nil
}
