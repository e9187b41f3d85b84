package haproxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
	"hapressure/haproxy/shctx"
)

// Purging a cache: find it, check that it may be emptied, empty its header while the
// worker is frozen, and sweep its memory. docs/safety.md explains each step, in this
// order.

// HoldLimit bounds how long a thread of a worker can be held, whatever happens to this
// process. When it has passed, the kernel kills this process and releases every thread
// that it held.
//
// It is 2.5 times proc.StopLimit, so a freeze that gives up in time is not killed. It is
// a tenth of the time after which HAProxy's watchdog aborts a worker whose threads spin
// on a lock, and below the second after which VRRP, health checks and TCP keep-alives
// notice silence.
const HoldLimit = 250 * time.Millisecond

// holdLimit is HoldLimit, except in a test program that purges many workers in its own
// process: on a busy machine the kernel's timer would kill all of its tests.
var holdLimit = HoldLimit

const (
	purgeTries = 20
	sweepChunk = 16 << 20 // bytes: some milliseconds of the kernel's work
	sweepNice  = 10       // a tenth of the weight of HAProxy's threads, which must not wait for it
)

var pageSize = uint64(os.Getpagesize())

// Purged is what a purge did.
type Purged struct {
	Given                // what the cache held
	Held   time.Duration // how long the worker's threads were stopped, in all attempts
	Tries  int
	Layout string // the releases whose layout the cache has
}

// PurgeSSLCache empties the TLS session cache of the worker in place and gives its memory
// back. The worker continues to serve. Sessions that it had cached are renegotiated in
// full, and it caches no more.
//
// others are the pids that might share the memory: all of the worker's cgroup. If the
// memory is not recognised, nothing is written and the error is a *Refusal. ErrBusy: a
// thread was inside the cache at each attempt. An ended context stops the sweep between
// two chunks; a later call continues it.
func (s *Stopping) PurgeSSLCache(ctx context.Context, others []int) (Purged, error) {
	c, err := findTLSCache(s.p, os.O_RDWR)
	if err != nil {
		return Purged{}, err
	}
	defer c.Close()
	return c.purge(ctx, s.w.owners(others))
}

// PurgeHTTPCaches empties the HTTP caches (`cache` sections) of the worker in place and
// gives their memory back, by the same means and with the same errors as PurgeSSLCache.
// The worker continues to serve: it asks the servers again for what it had cached, and
// caches no more. ErrBusy: a response is being served from a cache or stored in it. The
// result is the sum over all caches, also if one of them has an error.
func (s *Stopping) PurgeHTTPCaches(ctx context.Context, others []int) (Purged, error) {
	maps, err := sharedMappings(s.p)
	if err != nil {
		return Purged{}, err
	}
	isCode, err := s.p.Code()
	if err != nil {
		return Purged{}, err
	}
	var sum Purged
	var errs []error
	found := false
	for _, m := range maps {
		one, err := s.purgeHTTPCache(ctx, m, isCode, others)
		if shctx.IsRefusal(err, shctx.NoHTTPCache) {
			continue
		}
		found = true
		sum = Purged{Given{sum.Before + one.Before, sum.After + one.After}, sum.Held + one.Held,
			sum.Tries + one.Tries, one.Layout}
		errs = append(errs, err)
	}
	if !found {
		return sum, shctx.Refuse(shctx.NoHTTPCache, "none of pid %d's %d shared mappings",
			s.p.PID, len(maps))
	}
	return sum, errors.Join(errs...)
}

func (s *Stopping) purgeHTTPCache(ctx context.Context, m proc.Mapping, isCode func(uint64) bool,
	others []int) (Purged, error) {
	c, err := openCache(s.p, m, os.O_RDWR, shctx.Memory.HTTPCache, isCode)
	if err != nil {
		return Purged{}, err
	}
	defer c.Close()
	return c.purge(ctx, s.w.owners(others))
}

// CheckSSLCache reports whether the worker's TLS session cache could be purged. It makes
// the checks of PurgeSSLCache, writes nothing and stops no thread. The worker need not be
// stopping.
func (w Worker) CheckSSLCache(others []int) (Purged, error) {
	p, err := proc.Open(w.procfs, w.ID)
	if err != nil {
		return Purged{}, err
	}
	defer p.Close()
	c, err := findTLSCache(p, os.O_RDONLY)
	if err != nil {
		return Purged{}, err
	}
	defer c.Close()
	return c.check(w.owners(others))
}

// cacheFile is the memory of a recognised cache, pinned.
type cacheFile struct {
	*proc.SharedFile
	p     *proc.Process
	cache *shctx.Cache
}

// purge empties the cache and gives its memory back.
func (c *cacheFile) purge(ctx context.Context, others owners) (Purged, error) {
	res, err := c.check(others)
	if err != nil {
		return res, err
	}
	if !c.cache.Empty {
		if err := c.empty(ctx, &res); err != nil {
			return res, err
		}
	}
	proc.OnThread(sweepNice, func() { err = c.sweep(ctx) })
	if after, rerr := c.Resident(); rerr == nil {
		res.After = after
	}
	return res, err
}

// sharedMappings lists the mappings that may be caches, the largest first.
func sharedMappings(p *proc.Process) ([]proc.Mapping, error) {
	maps, err := p.SharedMaps()
	return slices.DeleteFunc(maps, func(m proc.Mapping) bool { return !m.Shared() }), err
}

// findTLSCache opens the one shared mapping that is a TLS session cache.
func findTLSCache(p *proc.Process, flags int) (*cacheFile, error) {
	maps, err := sharedMappings(p)
	if err != nil {
		return nil, err
	}
	isCode, err := p.Code()
	if err != nil {
		return nil, err
	}
	var refusal error
	for _, m := range maps {
		c, err := openCache(p, m, flags, shctx.Memory.TLSCache, isCode)
		if err == nil {
			return c, nil
		}
		if !errors.As(err, new(*Refusal)) {
			return nil, err
		}
		if !shctx.IsRefusal(err, shctx.HTTPCache) {
			refusal = shctx.MoreTelling(refusal, err)
		}
	}
	if refusal == nil {
		refusal = refuseNoCache(p, len(maps))
	}
	return nil, refusal
}

// refuseNoCache is the refusal of a worker whose shared memory is HTTP caches, if it has
// any. Up to 2.8 the cache of a worker with one thread is private memory (src/shctx.c,
// shctx_init).
func refuseNoCache(p *proc.Process, httpCaches int) error {
	shared := "no shared anonymous memory"
	if httpCaches > 0 {
		shared = "HTTP caches only in its shared memory"
	}
	private := ""
	if st, err := p.Status(); err == nil && st.Threads == 1 {
		private = fmt.Sprintf("; up to HAProxy 2.8 a worker with one thread has its cache in "+
			"private memory, of which this one has %d MiB and which is not purged",
			st.Private()>>20)
	}
	return shctx.Refuse(shctx.NoCache, "pid %d has %s%s", p.PID, shared, private)
}

type recogniser func(shctx.Memory) (*shctx.Cache, error)

// openCache opens a mapping and recognises the cache in it. ErrBusy: the mapping changed
// at each attempt.
func openCache(p *proc.Process, m proc.Mapping, flags int, recognise recogniser,
	isCode func(uint64) bool) (*cacheFile, error) {
	f, err := p.OpenMapping(m, flags)
	if errors.Is(err, proc.ErrChanged) {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if err != nil {
		return nil, err
	}
	memory := shctx.Memory{ReaderAt: f, Start: m.Start, Length: m.Len(), PageSize: pageSize,
		IsCode: isCode}
	for try := 1; ; try++ {
		cache, err := recognise(memory)
		switch {
		case err == nil:
			return &cacheFile{f, p, cache}, nil
		case errors.Is(err, shctx.ErrUnstable) && try < purgeTries:
			time.Sleep(time.Millisecond) // no event shows that a thread has left the cache
			continue
		case errors.Is(err, shctx.ErrUnstable):
			err = fmt.Errorf("%w: %w", ErrBusy, err)
		}
		f.Close()
		if !errors.As(err, new(*Refusal)) {
			err = fmt.Errorf("recognising a cache of pid %d: %w", p.PID, err)
		}
		return nil, err
	}
}

// check measures the cache and makes sure that it may be emptied.
func (c *cacheFile) check(others owners) (Purged, error) {
	res := Purged{Layout: c.cache.Layout.Name}
	held, err := c.Resident()
	if err != nil {
		return res, err
	}
	res.Before, res.After = held, held
	if err := c.checkOwners(others); err != nil {
		return res, err
	}
	threads, err := c.p.Threads()
	if err == nil && c.cache.Blocks <= uint32(shctx.SessionBlocks*len(threads)) {
		// Then nbav = 0 would not only be the trace of a purge: the threads could hold
		// all blocks at one time.
		err = shctx.Refuse(shctx.TooSmall, "blocks: %d, threads: %d", c.cache.Blocks, len(threads))
	}
	return res, err
}

// owners are the processes that may map a cache besides its worker.
type owners struct {
	procfs string
	pids   []int
	// known holds the inodes that stopping workers map, by pid. These workers are not
	// read again: anonymous memory comes to be shared at birth only, by fork(2), and a
	// stopping worker makes no cache that another process could inherit.
	known map[int][]uint64
}

func (w *Worker) owners(pids []int) owners { return owners{w.procfs, pids, w.shared} }

// checkOwners returns ErrManyOwners if another process than the worker maps the cache.
func (c *cacheFile) checkOwners(others owners) error {
	for _, pid := range others.pids {
		maps, known := others.known[pid]
		if pid == c.p.PID || known && !slices.Contains(maps, c.Mapping.Inode) {
			continue
		}
		same, err := proc.ReadMaps(others.procfs, pid, func(m proc.Mapping) bool {
			return m.Inode == c.Mapping.Inode && m.Dev == c.Mapping.Dev
		})
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking for other owners of the cache in pid %d: %w", pid, err)
		}
		if len(same) > 0 {
			return fmt.Errorf("%w: pid %d maps it too", ErrManyOwners, pid)
		}
	}
	return nil
}

// empty makes the cache's header that of a cache without blocks and without sessions.
func (c *cacheFile) empty(ctx context.Context, res *Purged) error {
	page, err := c.mapHeader()
	if err != nil {
		return err
	}
	defer unix.Munmap(page)
	h := c.cache.Header(page, c.Mapping.Start)
	wait := time.Millisecond
	for res.Tries = 1; ; res.Tries++ {
		held, err := c.p.Freeze(holdLimit, h.Idle, h.Clear)
		res.Held += held
		if !errors.Is(err, ErrBusy) || res.Tries == purgeTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 50*time.Millisecond)
	}
}

// mapHeader maps the first page writable. It locks the page if this process may, so that
// it is in memory while threads wait.
func (c *cacheFile) mapHeader() (page []byte, err error) {
	for _, lock := range []int{unix.MAP_LOCKED, 0} {
		page, err = unix.Mmap(int(c.Fd()), 0, int(pageSize), unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_SHARED|unix.MAP_POPULATE|lock)
		if err == nil {
			return page, nil
		}
	}
	return nil, fmt.Errorf("mapping the cache's header: %w", err)
}

// sweep gives the memory behind the first page back to the kernel. The header is empty,
// so the worker cannot reach that memory, and no lock is needed.
func (c *cacheFile) sweep(ctx context.Context) error {
	end := int64(c.Mapping.Len())
	for off := int64(pageSize); off < end; off += sweepChunk {
		err := ctx.Err()
		if err == nil {
			err = c.Punch(off, min(sweepChunk, end-off))
		}
		if err != nil {
			return fmt.Errorf("sweeping the cache of pid %d, %d of %d bytes done: %w",
				c.p.PID, off, end, err)
		}
	}
	return nil
}
