// Package cachetest makes caches as HAProxy has them in shared memory, for tests.
package cachetest

import (
	"bytes"
	"encoding/binary"
	"os"

	"hapressure/haproxy/shctx"
)

// The address and the callback of made-up caches.
const (
	Start = 0x7f0000000000
	Code  = 0x560000001000

	Limit = 65_536 // max-object-size of a made-up HTTP cache, in bytes
)

// WriteTLS lays out an unused TLS session cache of n blocks in mem as shctx_init does,
// mapped at the address start. It leaves the callbacks alone.
func WriteTLS(mem []byte, l shctx.Layout, start uint64, n int) {
	writeBlocks(mem, l, start, n, shctx.BlockStride)
	if l.Hot != 0 {
		selfLink(mem, start, l.Hot)
	}
	binary.LittleEndian.PutUint32(mem[l.MaxObj:], 0)
	binary.LittleEndian.PutUint16(mem[l.BlockSize:], shctx.SSLBlockSize)
	put(mem, l.Root, 0)
	put(mem, l.Root+8, 1)
	binary.LittleEndian.PutUint32(mem[l.NBAV:], uint32(n))
}

// WriteHTTP lays out an unused HTTP cache of n blocks in mem as shctx_init and
// post_check_cache do, mapped at the address start. It leaves the callbacks and the
// configuration alone.
func WriteHTTP(mem []byte, l shctx.Layout, start uint64, n int, limit uint32) {
	writeBlocks(mem, l, start, n, shctx.HTTPStride)
	if l.Hot != 0 {
		selfLink(mem, start, l.Hot)
	}
	for i := range max(l.Trees, 1) {
		put(mem, l.Tree(i), 0)
		put(mem, l.Tree(i)+8, 0)
		if l.Trees > 0 {
			selfLink(mem, start, l.Tree(i)+shctx.TreeCleanup)
		}
	}
	binary.LittleEndian.PutUint32(mem[l.MaxObj:], limit)
	binary.LittleEndian.PutUint32(mem[l.NBAV:], uint32(n))
}

// writeBlocks writes n blocks and the list of them. The first page may hold what it held
// before: HAProxy's own init resets len, too.
func writeBlocks(mem []byte, l shctx.Layout, start uint64, n, stride int) {
	addr := func(i int) uint64 {
		if i < 0 || i >= n {
			return start + shctx.OffAvail
		}
		return start + uint64(l.FirstBlock+i*stride)
	}
	for i := range n {
		off := l.FirstBlock + i*stride
		if stride == shctx.HTTPStride {
			clear(mem[off : off+shctx.BlockHeader])
		} else {
			clear(mem[off : off+stride])
		}
		put(mem, off, addr(i+1))
		put(mem, off+8, addr(i-1))
		binary.LittleEndian.PutUint32(mem[off+20:], 1)
	}
	put(mem, shctx.OffAvail, addr(0))
	put(mem, shctx.OffAvail+8, addr(n-1))
}

func put(mem []byte, off int, v uint64) { binary.LittleEndian.PutUint64(mem[off:], v) }

func selfLink(mem []byte, start uint64, off int) {
	put(mem, off, start+uint64(off))
	put(mem, off+8, start+uint64(off))
}

// TLS returns a TLS session cache as a worker of that layout has it, on a machine with
// pages of page bytes.
func TLS(l shctx.Layout, blocks, page int) []byte {
	mem := make([]byte, roundUp(l.FirstBlock+blocks*shctx.BlockStride, page))
	WriteTLS(mem, l, Start, blocks)
	put(mem, l.FreeBlock, Code)
	return mem
}

// HTTP returns an HTTP cache as a worker of that layout has it on this machine.
func HTTP(l shctx.HTTPLayout, blocks int) []byte {
	mem := make([]byte, roundUp(l.FirstBlock+blocks*shctx.HTTPStride, os.Getpagesize()))
	WriteHTTP(mem, l.Layout, Start, blocks, Limit)
	binary.LittleEndian.PutUint16(mem[l.BlockSize:], 1024)
	put(mem, l.FreeBlock, Code)
	if l.ReserveFinish != 0 {
		put(mem, l.ReserveFinish, Code)
		put(mem, l.Self, Start+uint64(l.Root))
	}
	binary.LittleEndian.PutUint32(mem[l.MaxBlocks:], uint32(blocks))
	binary.LittleEndian.PutUint32(mem[l.MaxBlocks+4:], Limit)
	return mem
}

func roundUp(n, page int) int { return (n + page - 1) / page * page }

// Memory is mem as it is read from outside.
func Memory(mem []byte) shctx.Memory {
	return shctx.Memory{ReaderAt: bytes.NewReader(mem), Start: Start, Length: uint64(len(mem)),
		PageSize: uint64(os.Getpagesize()), IsCode: func(addr uint64) bool { return addr == Code }}
}

// HTTPStores are the stores of Clear in an HTTP cache, in order: offset and length in
// bytes.
func HTTPStores(l shctx.Layout) [][2]int {
	stores := [][2]int{{l.MaxObj, 4}, {l.NBAV, 4}}
	for i := range max(l.Trees, 1) {
		stores = append(stores, [2]int{l.Tree(i), 8})
	}
	return append(stores, [2]int{shctx.OffAvail, 8}, [2]int{shctx.OffAvail + 8, 8})
}
