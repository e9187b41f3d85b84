package haproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Facts about HAProxy's shared context when it holds a `cache` section (src/cache.c), the same on every 64-bit build.
const (
	httpStride      = blockHeader + httpBlockSize
	httpHeaderBytes = 1024 // enough for every layout's struct shared_context and struct cache

	treeStride      = 64 // sizeof(struct cache_tree), 2.9 on: eb_root, lock, cleanup_list, cleanup_lock
	treeLock        = 16
	treeCleanup     = 24
	treeCleanupLock = 40

	noObject = 1 // a limit of object size that no object meets: its struct cache_entry alone is larger
)

// httpLayout is where the fields of a `cache` section lie: struct shared_context, struct cache, then the blocks.
type httpLayout struct {
	layout
	self      int // the callbacks' argument, 2.9 on: the address of struct cache, which begins with the trees; 0 = there is none
	maxBlocks int // as configured; the limit of object size follows it
	vary      int // whether `process-vary` is on; 0 = that does not matter
	node      int // where a block has the node of its tree
}

// httpLayouts are the shapes we know. There are CACHE_TREE_NUM trees from 2.9 on; a build with another number than 8 is refused.
// In 3.5 the cache has more lists than are known here.
var httpLayouts = []httpLayout{
	{layout{name: "2.4-2.8", http: true, hot: 24, nbav: 40, maxObj: 44, freeBlock: 48, blockSize: 56, root: 74, firstBlock: 152},
		0, 94, 0, blockHeader + 16},
	{layout{name: "2.9-3.4", http: true, nbav: 24, maxObj: 28, freeBlock: 32, reserveFinish: 40, blockSize: 56, root: 64, trees: 8, firstBlock: 704},
		48, 596, 608, blockHeader + 24},
}

// Further reasons of a Refusal.
const (
	NoHTTPCache = "no HTTP cache of a known layout"
	VaryCache   = "HTTP cache with process-vary" // 2.9 to 3.4 can lose count of its blocks
)

// PurgeHTTPCaches empties the HTTP caches (`cache` sections) of a worker in place and gives their memory back, with the same means, needs and
// errors as PurgeSSLCache. The worker serves on; what it had cached is asked of the servers again, and it caches no more. ErrBusy: a
// response is being served from a cache or stored in it. The result is the sum over all caches, also if there is an error for one of them.
func (p *Process) PurgeHTTPCaches(ctx context.Context, others []int) (Purged, error) {
	maps, err := p.SharedMappings()
	if err != nil {
		return Purged{}, err
	}
	isCode, err := p.code()
	if err != nil {
		return Purged{}, err
	}
	var sum Purged
	var errs []error
	found := false
	for _, m := range maps {
		one, err := p.purgeHTTPCache(ctx, m, isCode, others)
		if errorIs(err, NoHTTPCache) {
			continue
		}
		found = true
		sum = Purged{Given{sum.Before + one.Before, sum.After + one.After}, sum.Held + one.Held, sum.Tries + one.Tries, one.Layout}
		errs = append(errs, err)
	}
	if !found {
		return sum, refuse(NoHTTPCache, "none of pid %d's %d shared mappings", p.PID, len(maps))
	}
	return sum, errors.Join(errs...)
}

func (p *Process) purgeHTTPCache(ctx context.Context, m Mapping, isCode func(uint64) bool, others []int) (Purged, error) {
	c, err := p.OpenMapping(m, true)
	if err != nil {
		return Purged{}, err
	}
	defer c.Close()
	cache, err := c.recognise(recogniseHTTP, isCode)
	if err != nil {
		return Purged{}, fmt.Errorf("recognising an HTTP cache of pid %d: %w", p.PID, err)
	}
	res, err := c.check(cache, others)
	if err != nil {
		return res, err
	}
	return c.purge(ctx, cache, res)
}

// recogniseHTTP decides whether the memory is an HTTP cache of a layout we know, with the arguments and errors of Recognise.
func recogniseHTTP(r io.ReaderAt, start, length uint64, isCode func(addr uint64) bool) (*Cache, error) {
	if length < 4096 {
		return nil, refuse(NoHTTPCache, "%d bytes", length)
	}
	h := make([]byte, httpHeaderBytes)
	if _, err := r.ReadAt(h, 0); err != nil {
		return nil, fmt.Errorf("reading the cache's header: %w", err)
	}
	last := refuse(NoHTTPCache, "no blocks of %d bytes", httpBlockSize)
	for _, l := range httpLayouts {
		if binary.LittleEndian.Uint16(h[l.blockSize:]) != httpBlockSize {
			continue
		}
		cache, err := l.recognise(r, h, start, length, isCode)
		if err == nil || !errorIs(err, UnknownLayout) {
			return cache, err
		}
		last = err
	}
	return nil, last
}

func (l httpLayout) recognise(r io.ReaderAt, h []byte, start, length uint64, isCode func(uint64) bool) (*Cache, error) {
	n, limit := l.u32(h, l.maxBlocks), l.u32(h, l.maxBlocks+4)
	size := uint64(l.firstBlock) + uint64(n)*httpStride
	nbav, maxObj := l.u32(h, l.nbav), l.u32(h, l.maxObj)
	next, prev, avail := l.u64(h, offAvail), l.u64(h, offAvail+8), start+offAvail
	isBlock := func(addr uint64, into int) bool {
		first := start + uint64(l.firstBlock+into)
		return addr >= first && (addr-first)%httpStride == 0 && (addr-first)/httpStride < uint64(n)
	}
	switch {
	case !isCode(l.u64(h, l.freeBlock)) || l.reserveFinish != 0 && !isCode(l.u64(h, l.reserveFinish)):
		return nil, refuse(UnknownLayout, "as %s: no code at its callbacks", l.name)
	case l.self != 0 && l.u64(h, l.self) != start+uint64(l.root):
		return nil, refuse(UnknownLayout, "as %s: its callbacks are for %#x", l.name, l.u64(h, l.self))
	case n == 0 || size > length || length-size >= pageSize:
		return nil, refuse(UnknownLayout, "as %s: %d blocks in %d bytes", l.name, n, length)
	case limit == 0 || maxObj != limit && maxObj != noObject:
		return nil, refuse(UnknownLayout, "as %s: objects are limited to %d bytes and to %d", l.name, limit, maxObj)
	case nbav > n || nbav != 0 && !(isBlock(next, 0) && isBlock(prev, 0)):
		return nil, refuse(UnknownLayout, "as %s: %d of %d blocks available, from %#x to %#x", l.name, nbav, n, next, prev)
	}
	empty := maxObj == noObject && nbav == 0 && next == avail && prev == avail
	for i := range max(l.trees, 1) {
		left, right := l.u64(h, l.tree(i)), l.u64(h, l.tree(i)+8)
		if right != 0 || left != 0 && !isBlock(left&^1, l.node) {
			return nil, refuse(UnknownLayout, "as %s: tree %d points at %#x and %#x", l.name, i, left, right)
		}
		empty = empty && left == 0
	}
	switch {
	case l.vary != 0 && h[l.vary] != 0:
		return nil, refuse(VaryCache, "%s", l.name)
	case nbav == n:
		if err := l.checkEnds(r, start, next, prev); err != nil {
			return nil, err
		}
	}
	return &Cache{Layout: l.name, Blocks: n, Empty: empty, layout: l.layout}, nil
}
