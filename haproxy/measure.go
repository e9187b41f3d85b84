package haproxy

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"hapressure/haproxy/proc"
)

// measureTime bounds the measurements of one Scan, whatever the processes do. All
// processes share it. A worker whose turn does not come is not measured, and comes first
// in the next Scan.
const measureTime = 3 * time.Second

var errNoMeasureTime = errors.New("its turn to be measured has not come yet")

// measure reads the memory that each worker in found holds, in the Scan with this number:
// of a stopping one its cache, of others all that is shared. It runs in each tick for
// perhaps hundreds of workers. It enters into shared, by pid, the inodes that stopping
// workers map.
func (known memories) measure(ctx context.Context, found []Instance, scan uint64,
	shared map[int][]uint64) {
	ctx, cancel := context.WithTimeoutCause(ctx, measureTime, errNoMeasureTime)
	defer cancel()
	var all []*Worker
	for _, in := range found {
		for i := range in.Workers {
			all = append(all, &in.Workers[i])
		}
	}
	slices.SortStableFunc(all, func(a, b *Worker) int {
		return cmp.Compare(known[a.ID].measured, known[b.ID].measured)
	})
	for _, w := range all {
		if ctx.Err() != nil {
			w.SizeErr, w.CacheErr = context.Cause(ctx), context.Cause(ctx)
			continue
		}
		m := known[w.ID]
		m.measured = scan
		m.measure(ctx, w)
		if w.State == StateStopping && m.shared != nil {
			shared[w.PID] = m.shared
		}
	}
}

func (m *memory) measure(ctx context.Context, w *Worker) {
	p, err := proc.Open(w.procfs, w.ID)
	if err != nil {
		w.SizeErr, w.CacheErr = err, err
		return
	}
	defer p.Close()
	st, err := p.Status()
	if err != nil {
		w.SizeErr, w.CacheErr = err, err
		return
	}
	w.Private, w.Swapped, w.Mapped = st.Private(), st.Swap, st.RSSFile
	w.Kernel, w.RAM = st.Kernel(), st.InRAM()
	if fi, err := os.Stat(p.Path("fd")); err == nil {
		w.Files = int(fi.Size()) // fs/proc/fd.c, proc_fd_getattr
	}
	if w.State != StateStopping {
		w.Shared, w.SizeErr = w.SharedMemory(ctx)
		return
	}
	if adj, err := p.OOMScoreAdj(); err == nil {
		w.OOMScoreAdj = adj
	}
	w.Cache, w.CacheErr = m.cacheSize(ctx, w)
}

// SharedMemory returns what all shared anonymous mappings of the worker hold, in bytes.
func (w *Worker) SharedMemory(ctx context.Context) (uint64, error) {
	procfs, id := w.procfs, w.ID
	return proc.Through(ctx, w.reads, func() (uint64, error) {
		p, err := proc.Open(procfs, id)
		if err != nil {
			return 0, err
		}
		defer p.Close()
		return sharedMemory(p)
	})
}

func sharedMemory(p *proc.Process) (sum uint64, err error) {
	maps, err := sharedMappings(p)
	seen := map[uint64]bool{} // inodes: a process can map the same memory a thousand times
	for _, m := range maps {
		if seen[m.Inode] {
			continue
		}
		seen[m.Inode] = true
		n, merr := p.Resident(m)
		sum += n
		err = errors.Join(err, merr)
	}
	return sum, err
}

// cacheSize returns the bytes that the worker's TLS session cache holds. It searches for
// the cache until there is an answer, which does not change any more.
func (m *memory) cacheSize(ctx context.Context, w *Worker) (uint64, error) {
	if m.refusal != nil {
		return 0, m.refusal
	}
	known, procfs, id := cached{shared: m.shared, cache: m.cache}, w.procfs, w.ID
	now, err := proc.Through(ctx, m.reads, func() (cached, error) { return known.read(procfs, id) })
	if now.shared != nil {
		m.shared = now.shared
	}
	if now.cache != nil {
		m.cache = now.cache
	}
	errors.As(err, &m.refusal)
	return now.size, err
}

// cached is what is known of a stopping worker's cache.
type cached struct {
	shared []uint64 // inodes of the shared memory that the worker maps; nil = not known
	cache  *proc.Mapping
	size   uint64 // bytes
}

// read measures the cache. It first finds out what is not known yet.
func (c cached) read(procfs string, id ID) (cached, error) {
	p, err := proc.Open(procfs, id)
	if err != nil {
		return c, err
	}
	defer p.Close()
	if c.shared == nil {
		maps, err := p.SharedMaps()
		if err != nil {
			return c, err
		}
		c.shared = []uint64{}
		for _, m := range maps {
			c.shared = append(c.shared, m.Inode)
		}
	}
	if c.cache == nil {
		found, err := findTLSCache(p, os.O_RDONLY)
		if err != nil {
			return c, err
		}
		defer found.Close()
		c.cache = &found.Mapping
	}
	c.size, err = p.Resident(*c.cache)
	return c, err
}
