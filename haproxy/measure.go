package haproxy

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
)

// measure reads what memory each worker in found holds: of a stopping one its cache, of others all that is shared. It is done in
// each tick for each of perhaps hundreds of workers.
func (s *Scanner) measure(ctx context.Context, found []Instance) {
	ctx, cancel := context.WithTimeoutCause(ctx, measureTime, errNoMeasureTime)
	defer cancel()
	var all []*Worker
	for _, in := range found {
		for i := range in.Workers {
			all = append(all, &in.Workers[i])
		}
	}
	slices.SortStableFunc(all, func(a, b *Worker) int {
		return cmp.Compare(s.workers[a.ID].measured, s.workers[b.ID].measured)
	})
	for _, w := range all {
		if ctx.Err() != nil {
			w.SizeErr, w.CacheErr = context.Cause(ctx), context.Cause(ctx)
			continue
		}
		s.measureWorker(ctx, w, s.workers[w.ID])
	}
}

func (s *Scanner) measureWorker(ctx context.Context, w *Worker, m *memory) {
	m.measured = s.scans
	p, err := OpenProcess(s.procfs, w.ID)
	if err != nil {
		w.SizeErr, w.CacheErr = err, err
		return
	}
	defer p.Close()
	st, err := readStatus(s.procfs, w.PID)
	if err != nil {
		w.SizeErr, w.CacheErr = err, err
		return
	}
	w.Private, w.RAM = st.rssAnon+st.swap, st.rssAnon+st.rssShmem
	if fi, err := os.Stat(p.path("fd")); err == nil {
		w.Files = int(fi.Size()) // fs/proc/fd.c, proc_fd_getattr
	}
	if w.State != Stopping {
		w.Shared, w.SizeErr = w.SharedMemory(ctx)
		return
	}
	w.Cache, w.CacheErr = m.cacheSize(ctx, s.procfs, w.ID)
	if m.shared != nil {
		s.shared[w.PID] = m.shared
	}
}

// SharedMemory returns what all of the worker's shared anonymous mappings hold, in bytes.
func (w *Worker) SharedMemory(ctx context.Context) (uint64, error) {
	return through(ctx, w.reads, func() (uint64, error) {
		p, err := OpenProcess(w.procfs, w.ID)
		if err != nil {
			return 0, err
		}
		defer p.Close()
		return p.sharedMemory()
	})
}

func (p *Process) sharedMemory() (sum uint64, err error) {
	maps, err := p.SharedMappings()
	seen := map[uint64]bool{} // inodes: a process can map the same memory a thousand times
	for _, mapping := range maps {
		if seen[mapping.Inode] {
			continue
		}
		seen[mapping.Inode] = true
		n, merr := p.resident(mapping)
		sum += n
		err = errors.Join(err, merr)
	}
	return sum, err
}

// cacheSize returns the bytes that the worker's TLS session cache holds. Where it lies is looked for until there is an answer; that
// does not change any more.
func (m *memory) cacheSize(ctx context.Context, procfs string, id ID) (uint64, error) {
	if m.refusal != nil {
		return 0, m.refusal
	}
	known := cached{shared: m.shared, cache: m.cache}
	now, err := through(ctx, m.reads, func() (cached, error) { return known.read(procfs, id) })
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
	shared []uint64 // inodes of the shared memory that the worker maps
	cache  *Mapping
	size   uint64 // bytes
}

// read measures the cache, and finds out first what is not known yet.
func (c cached) read(procfs string, id ID) (cached, error) {
	p, err := OpenProcess(procfs, id)
	if err != nil {
		return c, err
	}
	defer p.Close()
	if c.shared == nil {
		maps, err := p.shmem()
		if err != nil {
			return c, err
		}
		c.shared = []uint64{}
		for _, mapping := range maps {
			c.shared = append(c.shared, mapping.Inode)
		}
	}
	if c.cache == nil {
		file, _, err := p.findSSLCache()
		if err != nil {
			return c, err
		}
		defer file.Close()
		c.cache = &file.Mapping
	}
	c.size, err = p.resident(*c.cache)
	return c, err
}

func (p *Process) resident(m Mapping) (uint64, error) {
	c, err := p.OpenMapping(m, false)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Resident()
}
