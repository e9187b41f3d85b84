package shctx

import (
	"cmp"
	"errors"
	"fmt"
)

// Facts about the TLS session cache (src/ssl_sock.c, sh_ssl_sess_*), the same on every
// 64-bit build.
const (
	SSLBlockSize = 200 // bytes: sizeof(struct sh_ssl_sess_hdr) + SHSESS_BLOCK_MIN_SIZE
	BlockStride  = BlockHeader + SSLBlockSize

	// SessionBlocks is the highest number of blocks of one session: SHSESS_MAX_DATA_LEN
	// and a header, in blocks of SSLBlockSize.
	SessionBlocks = 21

	// lockMost bounds the length of a lock, in bytes. With what follows, it lies in the
	// header. The lock of a debug build takes 1,568.
	lockMost = headerBytes - 256
)

// TLSLayouts are the known shapes of a TLS session cache.
var TLSLayouts = []Layout{
	{Name: "2.2-2.8", Hot: 24, NBAV: 40, MaxObj: 44, FreeBlock: 48, BlockSize: 56, Root: 64,
		FirstBlock: 80},
	{Name: "2.9-3.4", NBAV: 24, MaxObj: 28, FreeBlock: 32, ReserveFinish: 40, BlockSize: 56,
		Root: 64, FirstBlock: 80},
	{Name: "3.5", NBAV: 24, MaxObj: 28, MakeRoom: 32, FreeBlock: 40, ReserveFinish: 48,
		BlockSize: 64, Root: 128, FirstBlock: 144},
}

// TLSCache recognises a TLS session cache. It accepts the memory only if every field of a
// known layout makes sense. Errors: a *Refusal; ErrUnstable, if the worker was changing
// the cache; or the reader's error.
func (m Memory) TLSCache() (*Cache, error) {
	if m.Length < headerBytes {
		return nil, Refuse(TooSmall, "%d bytes", m.Length)
	}
	h := make([]byte, headerBytes)
	if _, err := m.ReadAt(h, 0); err != nil {
		return nil, fmt.Errorf("reading the cache's header: %w", err)
	}
	var refusal error
	for _, l := range TLSLayouts {
		var c *Cache
		err := l.matches(h, m.IsCode)
		if err == nil {
			c, err = m.measure(l, h)
		}
		if !errors.As(err, new(*Refusal)) {
			return c, err
		}
		refusal = MoreTelling(refusal, err)
	}
	return nil, m.nameOther(h, refusal)
}

// nameOther names memory that has none of the layouts, given their refusal. In a build
// with another lock all other fields are there, shifted.
func (m Memory) nameOther(h []byte, refusal error) error {
	lock, err := m.lockBytes(h)
	if err != nil || lock < 0 {
		return cmp.Or(err, refusal)
	}
	for _, l := range TLSLayouts {
		if lock == OffAvail {
			break
		}
		err := l.withLock(lock).matches(h, m.IsCode)
		if err == nil {
			reason := cmp.Or(otherLocks[lock], DebugBuild)
			return Refuse(reason, "as %s: its lock takes %d bytes", l.Name, lock)
		}
		refusal = MoreTelling(refusal, err)
	}
	if IsRefusal(refusal, NotACache) {
		return Refuse(UnknownLayout, "it has a list of blocks at offset %d, but %v", lock, refusal)
	}
	return refusal
}

// otherLocks are the locks known by their length in bytes. (pthread_mutex_t has 40 on
// amd64, and 48 on arm64, as DEBUG_THREAD up to 2.6.)
var otherLocks = map[int]string{0: NoLock, 40: OtherLock}

// lockBytes finds the list of blocks, whose first block points back at it. Its offset is
// the length of the lock before it; -1 means that there is no list.
func (m Memory) lockBytes(h []byte) (int, error) {
	var prev [8]byte
	for off := 0; off <= lockMost; off += 8 {
		next := u64(h, off)
		if next < m.Start || next-m.Start > m.Length-16 {
			continue
		}
		if _, err := m.ReadAt(prev[:], int64(next-m.Start)+8); err != nil {
			return 0, fmt.Errorf("reading a block of the cache: %w", err)
		}
		if u64(prev[:], 0) == m.Start+uint64(off) {
			return off, nil
		}
	}
	return -1, nil
}

// withLock returns the layout of a build whose lock takes n bytes. From 2.9 the tree is
// aligned to 64 bytes.
func (l Layout) withLock(n int) Layout {
	for _, off := range []*int{&l.Hot, &l.NBAV, &l.MaxObj, &l.MakeRoom, &l.FreeBlock,
		&l.ReserveFinish, &l.BlockSize} {
		if *off != 0 {
			*off += n - OffAvail
		}
	}
	l.Root = l.BlockSize + 8
	if l.ReserveFinish != 0 {
		l.Root = (l.BlockSize + 2 + 63) &^ 63
	}
	return l
}

// matches checks the fields that never change during the life of a TLS session cache.
func (l Layout) matches(h []byte, isCode func(uint64) bool) error {
	callback, maxObj, right := u64(h, l.FreeBlock), u32(h, l.MaxObj), u64(h, l.Root+8)
	switch size := u16(h, l.BlockSize); {
	case !isCode(callback):
		return Refuse(NotACache, "as %s: no code at its callback %#x", l.Name, callback)
	case size == httpBlockSize:
		return Refuse(HTTPCache, "as %s: blocks of %d bytes", l.Name, size)
	case size != SSLBlockSize:
		return Refuse(OtherBlocks, "as %s: blocks of %d bytes, not %d", l.Name, size, SSLBlockSize)
	case maxObj != 0:
		return Refuse(OtherBlocks, "as %s: objects are limited to %d bytes", l.Name, maxObj)
	case l.MakeRoom != 0 && u64(h, l.MakeRoom) != 0:
		return Refuse(OtherBlocks, "as %s: it has a make_room callback", l.Name)
	case l.ReserveFinish != 0 && u64(h, l.ReserveFinish) != 0:
		return Refuse(OtherBlocks, "as %s: it has a reserve_finish callback", l.Name)
	case right != 1:
		return Refuse(UnknownLayout, "as %s: its tree's right root is %#x, not 1", l.Name, right)
	}
	return nil
}

// measure counts the blocks and checks every pointer of the header against them.
func (m Memory) measure(l Layout, h []byte) (*Cache, error) {
	most := (m.Length - uint64(l.FirstBlock)) / BlockStride
	if most > 1<<31-1 {
		return nil, Refuse(UnknownLayout, "room for %d blocks, more than HAProxy can make", most)
	}
	nbav, tree := u32(h, l.NBAV), u64(h, l.Root)
	next, prev := u64(h, OffAvail), u64(h, OffAvail+8)
	self := m.Start + OffAvail
	if nbav == 0 && tree == 0 && next == self && prev == self {
		return &Cache{Layout: l, Blocks: uint32(most), Empty: true}, nil
	}
	n, err := m.countBlocks(l, most)
	if err != nil {
		return nil, err
	}
	isBlock := func(addr, into uint64) bool {
		first := m.Start + uint64(l.FirstBlock) + into
		return addr >= first && (addr-first)%BlockStride == 0 &&
			(addr-first)/BlockStride < uint64(n)
	}
	// nbav 0 in a header that is not yet empty is the trace of an emptying that was cut
	// short. The list may be half reset.
	cut := nbav == 0
	isEnd := func(addr uint64) bool { return isBlock(addr, 0) || cut && addr == self }
	switch {
	case nbav > n:
		return nil, Refuse(UnknownLayout, "as %s: %d of %d blocks available", l.Name, nbav, n)
	case !isEnd(next) || !isEnd(prev):
		return nil, Refuse(UnknownLayout, "as %s: its list of blocks points outside", l.Name)
	case tree != 0 && !isBlock(tree&^1, BlockHeader):
		return nil, Refuse(UnknownLayout, "as %s: its tree points outside", l.Name)
	}
	if !cut {
		if err := m.checkEnds(next, prev); err != nil {
			return nil, err
		}
	}
	return &Cache{Layout: l, Blocks: n}, nil
}

// countBlocks returns the number of blocks that the cache was made with. HAProxy asks for
// exactly these and mmap rounds up to a page. So the last block ends within the last
// page, and nothing was ever written after it.
func (m Memory) countBlocks(l Layout, most uint64) (uint32, error) {
	least := uint64(0)
	if most > m.PageSize/BlockStride {
		least = most - m.PageSize/BlockStride - 1
	}
	var b [BlockHeader]byte
	n := most
	for ; n > least; n-- {
		if _, err := m.ReadAt(b[:], int64(l.FirstBlock)+int64(n-1)*BlockStride); err != nil {
			return 0, fmt.Errorf("reading the cache's last blocks: %w", err)
		}
		if u64(b[:], 0) != 0 {
			break
		}
	}
	if n == least {
		return 0, Refuse(UnknownLayout, "as %s: no block where the last ones must be", l.Name)
	}
	return uint32(n), nil
}
