package haproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/shctx"
)

// A Refusal is a fact about a worker's memory that does not change: the memory is never written.
type Refusal = shctx.Refusal

// Errors of actions that another attempt may not meet.
var (
	ErrBusy       = shctx.ErrBusy     // a thread was inside the cache at each attempt
	ErrUnstable   = shctx.ErrUnstable // the memory changed while it was read
	ErrManyOwners = errors.New("shared with another process")
	// ErrCannotStop: another process traces the worker, ptrace is forbidden, or a thread is
	// stuck in the kernel.
	ErrCannotStop = errors.New("worker cannot be held still")
)

// Errors of trimming that every further attempt meets.
var (
	errNoHandler      = errors.New("worker does not handle the signal")
	errStderrMayBlock = errors.New("worker's standard error may block")
)

// Permanent reports whether an action that failed with err fails in the same way for as long as
// the worker lives. Of several joined errors each must be permanent.
func Permanent(err error) bool {
	switch e := err.(type) {
	case *Refusal:
		return true
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(e.Unwrap(), func(err error) bool { return !Permanent(err) })
	case interface{ Unwrap() error }:
		return Permanent(e.Unwrap())
	}
	return err == errNoHandler || err == errStderrMayBlock
}

var pageSize = uint64(os.Getpagesize())

// CacheFile is the memory of one shared mapping of a process, pinned: the file descriptor holds the inode, so that what is
// written can only reach that memory, whatever becomes of the process or its address space. Close it soon: while it
// is open the memory outlives its process.
type CacheFile struct {
	p       *Process
	Mapping Mapping
	f       *os.File
}

// SharedMappings lists what may be caches: the process's shared anonymous mappings, the largest first.
func (p *Process) SharedMappings() ([]Mapping, error) {
	shared, err := p.shmem()
	shared = slices.DeleteFunc(shared, func(m Mapping) bool { return !m.Shared() })
	slices.SortFunc(shared, func(a, b Mapping) int { return cmp.Compare(b.Len(), a.Len()) })
	return shared, err
}

// shmem lists the mappings of all anonymous memory that the process may share with others.
func (p *Process) shmem() ([]Mapping, error) {
	dev, err := shmemDev()
	if err != nil {
		return nil, err
	}
	maps, err := ReadMaps(p.procfs, p.PID, func(m Mapping) bool { return m.Dev == dev })
	if err != nil {
		return nil, fmt.Errorf("listing the mappings of pid %d: %w", p.PID, err)
	}
	return maps, nil
}

// shmemDev returns the device, as /proc/PID/maps shows it, of the memory that the kernel makes for
// MAP_SHARED|MAP_ANONYMOUS. The name of a mapping proves nothing: in a mount namespace of its own a
// process can have a file that looks like anonymous memory, but that it can truncate during a purge.
//
// The device is the same until the next boot, so it is kept once it is known. An error is not kept:
// its cause (no free file descriptor, no memory) passes, and the next call tries again.
func shmemDev() (string, error) {
	if dev := knownShmemDev.Load(); dev != nil {
		return *dev, nil
	}
	dev, err := findShmemDev()
	if err != nil {
		return "", err
	}
	knownShmemDev.Store(&dev)
	return dev, nil
}

var knownShmemDev atomic.Pointer[string]

func findShmemDev() (string, error) {
	page, err := unix.Mmap(-1, 0, int(pageSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		return "", fmt.Errorf("mapping a page of shared memory: %w", err)
	}
	defer unix.Munmap(page)
	start := uint64(uintptr(unsafe.Pointer(&page[0])))
	maps, err := ReadMaps("/proc", os.Getpid(), func(m Mapping) bool { return start >= m.Start && start < m.End && m.Inode != 0 })
	if err == nil && len(maps) != 1 {
		err = errors.New("the page just mapped is not there")
	}
	if err != nil {
		return "", fmt.Errorf("reading our own mappings: %w", err)
	}
	return maps[0].Dev, nil
}

// OpenMapping pins the memory of m, one of SharedMappings. It needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE and ptrace access
// to the process (fs/proc/base.c, proc_map_files_get_link).
func (p *Process) OpenMapping(m Mapping, write bool) (*CacheFile, error) {
	// Between the list and the open another mapping may have come to lie at the same addresses: a file, say, or a device. So it is not
	// opened (O_PATH) before it is known to be the memory meant.
	f, err := os.OpenFile(p.path(m.file()), unix.O_PATH, 0)
	if errors.Is(err, os.ErrNotExist) {
		err = ErrGone
		if p.Alive() {
			err = fmt.Errorf("it is not there any more: %w", ErrUnstable)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening a mapping of pid %d: %w", p.PID, err)
	}
	defer f.Close()
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	if dev := fmt.Sprintf("%02x:%02x", unix.Major(st.Dev), unix.Minor(st.Dev)); err != nil || st.Ino != m.Inode || dev != m.Dev {
		return nil, fmt.Errorf("opening a mapping of pid %d: inode %d instead of %d: %w", p.PID, st.Ino, m.Inode, ErrUnstable)
	}
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	if f, err = os.OpenFile(fdPath(f), flags, 0); err != nil {
		return nil, fmt.Errorf("opening a mapping of pid %d: %w", p.PID, err)
	}
	return &CacheFile{p: p, Mapping: m, f: f}, nil
}

// fdPath is a name of what an open file refers to, to open it anew or to connect to it.
func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

func (c *CacheFile) Close() error { return c.f.Close() }

// Resident returns the bytes of memory that the mapping's inode holds, in RAM or in swap, whoever's page tables show it. RSS does
// not: up to 3.0 the master fills the cache before the worker is forked. (stat(2), st_blocks counts 512 bytes.)
func (c *CacheFile) Resident() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(c.f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("measuring a mapping of pid %d: %w", c.p.PID, err)
	}
	return uint64(st.Blocks) * 512, nil
}

// recognise reads the cache's header and decides what it is. ErrBusy: it changed at every look.
func (c *CacheFile) recognise(by recogniser, isCode func(uint64) bool) (*shctx.Cache, error) {
	for try := 1; ; try++ {
		cache, err := by(shctx.Memory{ReaderAt: c.f, Start: c.Mapping.Start, Length: c.Mapping.Len(), PageSize: pageSize, IsCode: isCode})
		if !errors.Is(err, ErrUnstable) {
			return cache, err
		}
		if try == purgeTries {
			return nil, fmt.Errorf("%w: %w", ErrBusy, err)
		}
		time.Sleep(time.Millisecond) // no event tells that a thread has left the cache
	}
}

type recogniser func(shctx.Memory) (*shctx.Cache, error)

// code tells which addresses lie in the code of the process's own program. Whoever has many mappings is read for it but once.
func (p *Process) code() (func(addr uint64) bool, error) {
	exe, err := os.Readlink(p.path("exe")) // as in maps, with " (deleted)" after an upgrade
	if err != nil {
		return nil, fmt.Errorf("reading what program pid %d runs: %w", p.PID, err)
	}
	maps, err := ReadMaps(p.procfs, p.PID, func(m Mapping) bool { return m.Perms == "r-xp" && m.Path == exe })
	if err != nil {
		return nil, fmt.Errorf("listing the mappings of pid %d: %w", p.PID, err)
	}
	return func(addr uint64) bool {
		return slices.ContainsFunc(maps, func(m Mapping) bool { return addr >= m.Start && addr < m.End })
	}, nil
}

// owners returns a process other than c's own, among pids, that maps the same memory; 0 if there is none.
//
// Each stopping worker is read but once, and not again for each of the others: anonymous memory comes to be shared at birth only, by fork(2),
// and a stopping worker makes no cache that another could inherit.
func (c *CacheFile) owners(pids []int) (int, error) {
	for _, pid := range pids {
		if shared, known := c.p.shared[pid]; pid == c.p.PID || known && !slices.Contains(shared, c.Mapping.Inode) {
			continue
		}
		maps, err := ReadMaps(c.p.procfs, pid, func(m Mapping) bool { return m.Inode == c.Mapping.Inode && m.Dev == c.Mapping.Dev })
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("looking for other owners of the cache in pid %d: %w", pid, err)
		}
		if len(maps) > 0 {
			return pid, nil
		}
	}
	return 0, nil
}

// Purged is what a purge did.
type Purged struct {
	Given                // what the cache held
	Held   time.Duration // how long the worker's threads were stopped, all tries together
	Tries  int
	Layout string
}

const (
	purgeTries = 20
	sweepChunk = 16 << 20 // bytes; some milliseconds of the kernel's work
	sweepNice  = 10       // it has a tenth of the weight of HAProxy's threads: they must not wait for it
)

// PurgeSSLCache empties the TLS session cache of a worker in place and gives its memory back. The worker serves on; sessions that
// it had cached are renegotiated in full, and it caches no more. The caller must have proven that the worker is stopping.
//
// others are the pids that might share the memory: all of the worker's cgroup. If the memory is not recognised, nothing is
// written and the error is a *Refusal. ErrBusy: the worker used its cache at every look; try again later. An ended context
// stops the sweep between two chunks; a later call takes it up.
func (p *Process) PurgeSSLCache(ctx context.Context, others []int) (Purged, error) {
	c, cache, res, err := p.prepare(others)
	if err != nil {
		return res, err
	}
	defer c.Close()
	return c.purge(ctx, cache, res)
}

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
		if shctx.IsRefusal(err, shctx.NoHTTPCache) {
			continue
		}
		found = true
		sum = Purged{Given{sum.Before + one.Before, sum.After + one.After}, sum.Held + one.Held, sum.Tries + one.Tries, one.Layout}
		errs = append(errs, err)
	}
	if !found {
		return sum, shctx.Refuse(shctx.NoHTTPCache, "none of pid %d's %d shared mappings", p.PID, len(maps))
	}
	return sum, errors.Join(errs...)
}

func (p *Process) purgeHTTPCache(ctx context.Context, m Mapping, isCode func(uint64) bool, others []int) (Purged, error) {
	c, err := p.OpenMapping(m, true)
	if err != nil {
		return Purged{}, err
	}
	defer c.Close()
	cache, err := c.recognise(shctx.Memory.HTTPCache, isCode)
	if err != nil {
		return Purged{}, fmt.Errorf("recognising an HTTP cache of pid %d: %w", p.PID, err)
	}
	res, err := c.check(cache, others)
	if err != nil {
		return res, err
	}
	return c.purge(ctx, cache, res)
}

// purge empties a recognised and checked cache, whose measures are in res, and gives its memory back.
func (c *CacheFile) purge(ctx context.Context, cache *shctx.Cache, res Purged) (Purged, error) {
	if !cache.Empty {
		if err := c.empty(ctx, cache, &res); err != nil {
			return res, err
		}
	}
	var err error
	onThread(sweepNice, func() { err = c.sweep(ctx) })
	if after, rerr := c.Resident(); rerr == nil {
		res.After = after
	}
	return res, err
}

// CheckSSLCache looks whether the cache could be purged, with all the checks of PurgeSSLCache that write nothing and stop nobody.
func (p *Process) CheckSSLCache(others []int) (Purged, error) {
	c, _, res, err := p.prepare(others)
	if err == nil {
		c.Close()
	}
	return res, err
}

// prepare finds the cache, measures it and makes sure that it may be emptied.
func (p *Process) prepare(others []int) (*CacheFile, *shctx.Cache, Purged, error) {
	c, cache, err := p.findSSLCache()
	if err != nil {
		return nil, nil, Purged{}, err
	}
	res, err := c.check(cache, others)
	if err != nil {
		c.Close()
	}
	return c, cache, res, err
}

func (c *CacheFile) check(cache *shctx.Cache, others []int) (Purged, error) {
	res := Purged{Layout: cache.Layout.Name}
	held, err := c.Resident()
	if err != nil {
		return res, err
	}
	res.Before, res.After = held, held
	if pid, err := c.owners(others); err != nil {
		return res, err
	} else if pid != 0 {
		return res, fmt.Errorf("%w: pid %d maps it too", ErrManyOwners, pid)
	}
	threads, err := c.p.threads()
	if err == nil && cache.Blocks <= uint32(shctx.SessionBlocks*len(threads)) {
		// Then nbav = 0 would not be our mark alone: the threads could hold all blocks at one time.
		err = shctx.Refuse(shctx.TooSmall, "%d blocks for %d threads", cache.Blocks, len(threads))
	}
	return res, err
}

// HasNoCache reports whether an error is the refusal of a worker without a TLS session cache.
func HasNoCache(err error) bool {
	return shctx.IsRefusal(err, shctx.NoCache)
}

// refuseNoCache is the refusal of a worker without shared memory. Up to 2.8 the cache of a worker with one thread is
// private memory (src/shctx.c, shctx_init).
func (p *Process) refuseNoCache() error {
	private := ""
	if threads, err := p.threads(); err == nil && len(threads) == 1 {
		private = "; up to HAProxy 2.8 a worker with one thread has its cache in private memory, which is not purged"
	}
	return shctx.Refuse(shctx.NoCache, "pid %d has no shared anonymous memory%s", p.PID, private)
}

// findSSLCache opens the one shared mapping that is a TLS session cache.
func (p *Process) findSSLCache() (*CacheFile, *shctx.Cache, error) {
	maps, err := p.SharedMappings()
	if err != nil {
		return nil, nil, err
	}
	isCode, err := p.code()
	if err != nil {
		return nil, nil, err
	}
	var refusal error
	for _, m := range maps {
		c, err := p.OpenMapping(m, true)
		if err != nil {
			return nil, nil, err
		}
		cache, err := c.recognise(shctx.Memory.TLSCache, isCode)
		if err == nil {
			return c, cache, nil
		}
		c.Close()
		if !errors.As(err, new(*Refusal)) {
			return nil, nil, fmt.Errorf("recognising the cache of pid %d: %w", p.PID, err)
		}
		refusal = shctx.MoreTelling(refusal, err)
	}
	if refusal == nil {
		refusal = p.refuseNoCache()
	}
	return nil, nil, refusal
}

// empty makes the cache's header that of a cache without blocks and without sessions.
func (c *CacheFile) empty(ctx context.Context, cache *shctx.Cache, res *Purged) error {
	page, err := c.mapHeader()
	if err != nil {
		return err
	}
	defer unix.Munmap(page)
	h := cache.Header(page, c.Mapping.Start)
	wait := time.Millisecond
	for res.Tries = 1; ; res.Tries++ {
		held, err := c.p.freeze(h.Idle, h.Clear)
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

// mapHeader maps the first page writable, and locks it if that can be had: then it is in memory while threads wait for it.
func (c *CacheFile) mapHeader() (page []byte, err error) {
	for _, lock := range []int{unix.MAP_LOCKED, 0} {
		page, err = unix.Mmap(int(c.f.Fd()), 0, int(pageSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE|lock)
		if err == nil {
			return page, nil
		}
	}
	return nil, fmt.Errorf("mapping the cache's header: %w", err)
}

// sweep gives the memory behind the first page back to the kernel. The header is empty, so nothing in the worker can reach it,
// and no lock is needed. The mapping stays; a page that were read again would read as zeros.
// (fallocate(2), FALLOC_FL_PUNCH_HOLE; mm/shmem.c, shmem_fallocate.)
func (c *CacheFile) sweep(ctx context.Context) error {
	end := int64(c.Mapping.Len())
	for off := int64(pageSize); off < end; off += sweepChunk {
		if ctx.Err() != nil {
			return fmt.Errorf("sweeping the cache of pid %d, %d of %d bytes done: %w", c.p.PID, off, end, ctx.Err())
		}
		err := unix.Fallocate(int(c.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, min(sweepChunk, end-off))
		if errors.Is(err, unix.EINTR) {
			off -= sweepChunk
			continue
		}
		if err != nil {
			return fmt.Errorf("sweeping the cache of pid %d at offset %d: %w", c.p.PID, off, err)
		}
	}
	return nil
}
