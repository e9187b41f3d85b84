package shctx

import "fmt"

// Facts about the shared context of a `cache` section (src/cache.c), the same on every
// 64-bit build.
const (
	httpBlockSize   = 1024 // bytes: CACHE_BLOCKSIZE
	HTTPStride      = BlockHeader + httpBlockSize
	httpHeaderBytes = 1024 // enough for every layout's struct shared_context and struct cache

	// noObject is a limit of object size, in bytes, that no object meets: its struct
	// cache_entry alone is larger.
	noObject = 1
)

// HTTPLayout holds the offsets in a `cache` section: struct shared_context, struct cache,
// then the blocks.
type HTTPLayout struct {
	Layout
	// Self is the argument of the callbacks, from 2.9: the address of struct cache, which
	// begins with the trees. 0 = none.
	Self      int
	MaxBlocks int // as configured; the limit of object size follows it
	Vary      int // whether `process-vary` is on; 0 = that does not matter
	Node      int // of the tree's node in a block
}

// HTTPLayouts are the known shapes. From 2.9 there are CACHE_TREE_NUM trees; a build with
// another number than 8 is refused. In 3.5 the cache has more lists than are known here.
var HTTPLayouts = []HTTPLayout{
	{Layout{Name: "2.4-2.8", HTTP: true, Hot: 24, NBAV: 40, MaxObj: 44, FreeBlock: 48,
		BlockSize: 56, Root: 74, FirstBlock: 152}, 0, 94, 0, BlockHeader + 16},
	{Layout{Name: "2.9-3.4", HTTP: true, NBAV: 24, MaxObj: 28, FreeBlock: 32, ReserveFinish: 40,
		BlockSize: 56, Root: 64, Trees: 8, FirstBlock: 704}, 48, 596, 608, BlockHeader + 24},
}

// HTTPCache recognises the cache of a `cache` section, with the errors of TLSCache.
func (m Memory) HTTPCache() (*Cache, error) {
	if m.Length < headerBytes {
		return nil, Refuse(NoHTTPCache, "%d bytes", m.Length)
	}
	h := make([]byte, httpHeaderBytes)
	if _, err := m.ReadAt(h, 0); err != nil {
		return nil, fmt.Errorf("reading the cache's header: %w", err)
	}
	last := Refuse(NoHTTPCache, "no blocks of %d bytes", httpBlockSize)
	for _, l := range HTTPLayouts {
		if u16(h, l.BlockSize) != httpBlockSize {
			continue
		}
		cache, err := m.http(l, h)
		if err == nil || !IsRefusal(err, UnknownLayout) {
			return cache, err
		}
		last = err
	}
	return nil, last
}

func (m Memory) http(l HTTPLayout, h []byte) (*Cache, error) {
	n, limit := u32(h, l.MaxBlocks), u32(h, l.MaxBlocks+4)
	size := uint64(l.FirstBlock) + uint64(n)*HTTPStride
	nbav, maxObj := u32(h, l.NBAV), u32(h, l.MaxObj)
	next, prev, avail := u64(h, OffAvail), u64(h, OffAvail+8), m.Start+OffAvail
	refuse := func(detail string, args ...any) (*Cache, error) {
		return nil, Refuse(UnknownLayout, "as "+l.Name+": "+detail, args...)
	}
	isBlock := func(addr uint64, into int) bool {
		first := m.Start + uint64(l.FirstBlock+into)
		return addr >= first && (addr-first)%HTTPStride == 0 && (addr-first)/HTTPStride < uint64(n)
	}
	switch {
	case !m.IsCode(u64(h, l.FreeBlock)),
		l.ReserveFinish != 0 && !m.IsCode(u64(h, l.ReserveFinish)):
		return refuse("no code at its callbacks")
	case l.Self != 0 && u64(h, l.Self) != m.Start+uint64(l.Root):
		return refuse("its callbacks are for %#x", u64(h, l.Self))
	case n == 0 || size > m.Length || m.Length-size >= m.PageSize:
		return refuse("%d blocks in %d bytes", n, m.Length)
	case limit == 0 || maxObj != limit && maxObj != noObject:
		return refuse("objects are limited to %d bytes and to %d", limit, maxObj)
	case nbav > n || nbav != 0 && !(isBlock(next, 0) && isBlock(prev, 0)):
		return refuse("%d of %d blocks available, from %#x to %#x", nbav, n, next, prev)
	}
	empty := maxObj == noObject && nbav == 0 && next == avail && prev == avail
	for i := range max(l.Trees, 1) {
		left, right := u64(h, l.Tree(i)), u64(h, l.Tree(i)+8)
		if right != 0 || left != 0 && !isBlock(left&^1, l.Node) {
			return refuse("tree %d points at %#x and %#x", i, left, right)
		}
		empty = empty && left == 0
	}
	switch {
	case l.Vary != 0 && h[l.Vary] != 0:
		return nil, Refuse(VaryCache, "%s", l.Name)
	case nbav == n:
		if err := m.checkEnds(next, prev); err != nil {
			return nil, err
		}
	}
	return &Cache{Layout: l.Layout, Blocks: n, Empty: empty}, nil
}
