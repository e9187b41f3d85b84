package haproxy

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Facts about HAProxy's shared context (include/haproxy/shctx-t.h) when it holds the TLS session cache
// (src/ssl_sock.c, sh_ssl_sess_*), the same on every 64-bit build.
const (
	sslBlockSize  = 200                        // sizeof(struct sh_ssl_sess_hdr) + SHSESS_BLOCK_MIN_SIZE
	httpBlockSize = 1024                       // CACHE_BLOCKSIZE (src/cache.c)
	blockHeader   = 48                         // offsetof(struct shared_block, data)
	blockStride   = blockHeader + sslBlockSize // one block follows the other
	headerBytes   = 4096                       // the smallest page there is
	lockMost      = headerBytes - 256          // bytes; with what follows it in the header. A debug build's takes 1,568
	sessionBlocks = 21                         // most blocks of one session: SHSESS_MAX_DATA_LEN and a header, in blocks of sslBlockSize
)

// layout is where the fields of struct shared_context lie. The lock is the first word in all of them, and the list of
// available blocks follows it. Up to 2.4 the lock has 32 bits, and the other half of the word is padding that stays 0. It means the
// same: 0 is free, and whoever enters makes it something else first (include/haproxy/shctx.h at v2.4.0, _shctx_lock).
type layout struct {
	name             string
	hot              int // the list of blocks in use, up to 2.8; 0 = there is none
	nbav, maxObj     int
	makeRoom         int // 3.5 on; 0 = there is none
	freeBlock        int // callback
	reserveFinish    int // callback, 2.9 on; 0 = there is none
	blockSize        int
	root, firstBlock int // eb_root of the session tree, and what follows it

	http  bool // a `cache` section's, see httpLayouts
	trees int  // how many trees with locks of their own (struct cache_tree) begin at root; 0 = one that has none
}

// tree is where the eb_root of a tree lies.
func (l layout) tree(i int) int { return l.root + i*treeStride }

const (
	offLock  = 0
	offAvail = 8
)

// layouts are the shapes we know, by the releases that have them.
var layouts = []layout{
	{name: "2.2-2.8", hot: 24, nbav: 40, maxObj: 44, freeBlock: 48, blockSize: 56, root: 64, firstBlock: 80},
	{name: "2.9-3.4", nbav: 24, maxObj: 28, freeBlock: 32, reserveFinish: 40, blockSize: 56, root: 64, firstBlock: 80},
	{name: "3.5", nbav: 24, maxObj: 28, makeRoom: 32, freeBlock: 40, reserveFinish: 48, blockSize: 64, root: 128, firstBlock: 144},
}

// A Refusal says why memory was not touched. It is an answer, not a fault: the policy goes on to what it may do next.
type Refusal struct{ Reason, Detail string }

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Reason
	}
	return r.Reason + ": " + r.Detail
}

func refuse(reason, detail string, args ...any) error {
	return &Refusal{reason, fmt.Sprintf(detail, args...)}
}

// The reasons of a Refusal.
const (
	NoCache       = "no TLS session cache"          // tune.ssl.cachesize 0, no TLS, or private to the process (nbthread 1 before 2.9)
	NotACache     = "shared memory of another kind" // a ring, say
	HTTPCache     = "an HTTP cache"                 // a cache section
	OtherBlocks   = "not a TLS session cache"       // a shared context with blocks of yet another size (SHSESS_BLOCK_MIN_SIZE), or other callbacks
	NoLock        = "built without threads"         // USE_THREAD=: there is no lock to look at
	OtherLock     = "built with another lock"       // USE_PTHREAD_PSHARED=1, up to 2.4
	DebugBuild    = "debug build"                   // DEBUG_THREAD: the lock is a struct that tells its owner, too
	UnknownLayout = "unrecognised memory layout"    // a release or build that we do not know
	TooSmall      = "cache too small"               // nothing to win, and the argument in safety.md wants many blocks
	ManyOwners    = "shared with another process"
	NoHandler     = "worker does not handle the signal"

	StderrMayBlock = "worker's standard error may block"
	CannotStop     = "worker cannot be held still" // traced by somebody else, ptrace forbidden, a thread stuck in the kernel
)

// ErrBusy says that the cache was in use at every look; it is worth another try later.
var ErrBusy = errors.New("cache is in use")

// Cache is a recognised TLS session cache.
type Cache struct {
	Layout string // releases that have this layout
	Blocks uint32 // how many it was made with
	Empty  bool   // its header is already that of an emptied cache
	layout layout
}

// ErrUnstable says that what was read changed meanwhile: a cache in use, or a mapping that has gone. Read it again.
var ErrUnstable = errors.New("changed while it was read")

// Recognise decides whether the memory that r reads is a TLS session cache of a layout we know, mapped at address start
// with the given length in bytes. isCode tells whether an address lies in the worker's executable mappings. It accepts only
// if every field that the layout has makes sense; else it fails with a *Refusal, with ErrUnstable if the
// worker was changing it (read it again), or with the reader's error.
func Recognise(r io.ReaderAt, start, length uint64, isCode func(addr uint64) bool) (*Cache, error) {
	if length < headerBytes {
		return nil, refuse(TooSmall, "%d bytes", length)
	}
	h := make([]byte, headerBytes)
	if _, err := r.ReadAt(h, 0); err != nil {
		return nil, fmt.Errorf("reading the cache's header: %w", err)
	}
	var refusal error
	for _, l := range layouts {
		var c *Cache
		err := l.matches(h, isCode)
		if err == nil {
			c, err = l.measure(r, h, start, length)
		}
		if !errors.As(err, new(*Refusal)) {
			return c, err
		}
		refusal = telling(refusal, err)
	}
	return nil, nameOther(r, h, start, length, isCode, refusal)
}

// nameOther says what memory is that has none of the layouts, given what they said. In a build with another lock all the rest is
// there, shifted.
func nameOther(r io.ReaderAt, h []byte, start, length uint64, isCode func(uint64) bool, refusal error) error {
	lock, err := lockBytes(r, h, start, length)
	if err != nil || lock < 0 {
		return cmp.Or(err, refusal)
	}
	for _, l := range layouts {
		if lock == offAvail {
			break
		}
		err := l.withLock(lock).matches(h, isCode)
		if err == nil {
			return refuse(cmp.Or(otherLocks[lock], DebugBuild), "as %s: its lock takes %d bytes", l.name, lock)
		}
		refusal = telling(refusal, err)
	}
	if errorIs(refusal, NotACache) {
		return refuse(UnknownLayout, "it has a list of blocks at offset %d, but %v", lock, refusal)
	}
	return refusal
}

// otherLocks are the locks known by their length in bytes. (pthread_mutex_t has 40 on amd64, 48 on arm64, as DEBUG_THREAD up to 2.6.)
var otherLocks = map[int]string{0: NoLock, 40: OtherLock}

// lockBytes finds the list of blocks, and so the length of the lock before it: its first block points back at it. -1: there is none.
func lockBytes(r io.ReaderAt, h []byte, start, length uint64) (int, error) {
	var prev [8]byte
	for off := 0; off <= lockMost; off += 8 {
		next := binary.LittleEndian.Uint64(h[off:])
		if next < start || next-start > length-16 {
			continue
		}
		if _, err := r.ReadAt(prev[:], int64(next-start)+8); err != nil {
			return 0, fmt.Errorf("reading a block of the cache: %w", err)
		}
		if binary.LittleEndian.Uint64(prev[:]) == start+uint64(off) {
			return off, nil
		}
	}
	return -1, nil
}

// withLock is the layout in a build whose lock takes n bytes. Since 2.9 the tree is aligned to 64 bytes.
func (l layout) withLock(n int) layout {
	for _, off := range []*int{&l.hot, &l.nbav, &l.maxObj, &l.makeRoom, &l.freeBlock, &l.reserveFinish, &l.blockSize} {
		if *off != 0 {
			*off += n - offAvail
		}
	}
	l.root = l.blockSize + 8
	if l.reserveFinish != 0 {
		l.root = (l.blockSize + 2 + 63) &^ 63
	}
	return l
}

// telling returns the one of two refusals that says more: what looks least like a TLS session cache says least.
func telling(a, b error) error {
	for _, vague := range []string{NotACache, OtherBlocks, HTTPCache} {
		if a == nil || errorIs(a, vague) {
			return b
		}
		if errorIs(b, vague) {
			return a
		}
	}
	return a
}

func errorIs(err error, reason string) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Reason == reason
}

func (l layout) u64(h []byte, off int) uint64 { return binary.LittleEndian.Uint64(h[off:]) }
func (l layout) u32(h []byte, off int) uint32 { return binary.LittleEndian.Uint32(h[off:]) }

// matches checks the fields that never change during the cache's life.
func (l layout) matches(h []byte, isCode func(uint64) bool) error {
	callback := l.u64(h, l.freeBlock)
	switch {
	case !isCode(callback):
		return refuse(NotACache, "as %s: no code at its callback %#x", l.name, callback)
	case binary.LittleEndian.Uint16(h[l.blockSize:]) == httpBlockSize:
		return refuse(HTTPCache, "as %s: blocks of %d bytes", l.name, httpBlockSize)
	case binary.LittleEndian.Uint16(h[l.blockSize:]) != sslBlockSize:
		return refuse(OtherBlocks, "as %s: blocks of %d bytes, not %d", l.name, binary.LittleEndian.Uint16(h[l.blockSize:]), sslBlockSize)
	case l.u32(h, l.maxObj) != 0:
		return refuse(OtherBlocks, "as %s: objects are limited to %d bytes", l.name, l.u32(h, l.maxObj))
	case l.makeRoom != 0 && l.u64(h, l.makeRoom) != 0:
		return refuse(OtherBlocks, "as %s: it has a make_room callback", l.name)
	case l.reserveFinish != 0 && l.u64(h, l.reserveFinish) != 0:
		return refuse(OtherBlocks, "as %s: it has a reserve_finish callback", l.name)
	case l.u64(h, l.root+8) != 1:
		return refuse(UnknownLayout, "as %s: its tree's right root is %#x, not 1", l.name, l.u64(h, l.root+8))
	}
	return nil
}

// measure counts the blocks and checks every pointer of the header against them.
func (l layout) measure(r io.ReaderAt, h []byte, start, length uint64) (*Cache, error) {
	most := (length - uint64(l.firstBlock)) / blockStride
	if most > 1<<31-1 {
		return nil, refuse(UnknownLayout, "room for %d blocks, more than HAProxy can make", most)
	}
	nbav, tree := l.u32(h, l.nbav), l.u64(h, l.root)
	next, prev := l.u64(h, offAvail), l.u64(h, offAvail+8)
	self := start + offAvail
	if nbav == 0 && tree == 0 && next == self && prev == self {
		return &Cache{Layout: l.name, Blocks: uint32(most), Empty: true, layout: l}, nil
	}
	n, err := l.countBlocks(r, most)
	if err != nil {
		return nil, err
	}
	isBlock := func(addr, into uint64) bool {
		first := start + uint64(l.firstBlock) + into
		return addr >= first && (addr-first)%blockStride == 0 && (addr-first)/blockStride < uint64(n)
	}
	// nbav 0 with anything else not yet empty is what an emptying leaves that was cut short; the list may be half reset.
	cut := nbav == 0
	isEnd := func(addr uint64) bool { return isBlock(addr, 0) || cut && addr == self }
	switch {
	case nbav > n:
		return nil, refuse(UnknownLayout, "as %s: %d of %d blocks available", l.name, nbav, n)
	case !isEnd(next) || !isEnd(prev):
		return nil, refuse(UnknownLayout, "as %s: its list of blocks points outside", l.name)
	case tree != 0 && !isBlock(tree&^1, blockHeader):
		return nil, refuse(UnknownLayout, "as %s: its tree points outside", l.name)
	}
	if !cut {
		if err := l.checkEnds(r, start, next, prev); err != nil {
			return nil, err
		}
	}
	return &Cache{Layout: l.name, Blocks: n, layout: l}, nil
}

// countBlocks finds how many blocks the cache was made with: HAProxy asks for exactly that many and mmap rounds up to a
// page, so they end within the last page, and what follows them was never written.
func (l layout) countBlocks(r io.ReaderAt, most uint64) (uint32, error) {
	least := uint64(0)
	if most > pageSize/blockStride {
		least = most - pageSize/blockStride - 1
	}
	var b [blockHeader]byte
	n := most
	for ; n > least; n-- {
		if _, err := r.ReadAt(b[:], int64(l.firstBlock)+int64(n-1)*blockStride); err != nil {
			return 0, fmt.Errorf("reading the cache's last blocks: %w", err)
		}
		if l.u64(b[:], 0) != 0 {
			break
		}
	}
	if n == least {
		return 0, refuse(UnknownLayout, "as %s: no block where the last ones must be", l.name)
	}
	return uint32(n), nil
}

// checkEnds checks that the first and the last available block point back to the header.
func (l layout) checkEnds(r io.ReaderAt, start, next, prev uint64) error {
	var b [16]byte
	for _, end := range []struct {
		addr uint64
		back int
	}{{next, 8}, {prev, 0}} {
		if _, err := r.ReadAt(b[:], int64(end.addr-start)); err != nil {
			return fmt.Errorf("reading a block of the cache: %w", err)
		}
		if l.u64(b[:], end.back) != start+offAvail {
			return fmt.Errorf("block at %#x does not point back to the list: %w", end.addr, ErrUnstable)
		}
	}
	return nil
}
