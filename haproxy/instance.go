package haproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// State is what is known of a worker. The zero value is Unknown, and unknown is not stopping.
type State int

const (
	Unknown  State = iota
	Current        // it serves new connections
	Stopping       // proven to be stopping: it accepts nothing any more and ends with its last connection
)

func (s State) String() string { return [...]string{"unknown", "current", "stopping"}[s] }

// Worker is one worker process of a master.
type Worker struct {
	ID
	Master     ID
	NSPID      int // its pid as the master and the CLI know it
	cli        *cli
	exe        string
	shared     map[int][]uint64 // what stopping workers map, by pid; see CacheFile.owners
	Generation int              // 1 for the oldest that this Scanner has seen; a younger worker has a higher one; never used twice
	State      State            // see Why
	Why        string           // what State rests on, for people
	Age        time.Duration
	// StoppingFor is the age of the next younger generation: its start is what made this one stop. If that one was gone already
	// when this Scanner first looked, it is shorter than the truth. 0 unless Stopping.
	StoppingFor time.Duration
	Cache       uint64 // bytes of memory held by its TLS session cache; see CacheErr
	CacheErr    error  // why Cache is not known: a *Refusal if nothing there is recognised. Only looked at when Stopping
	Shared      uint64 // bytes of all its shared anonymous memory. Not looked at when Stopping
	Private     uint64 // bytes of its private memory, in RAM or swapped out
	RAM         uint64 // bytes of its memory that its page tables show in RAM: what PageOut works on
	Files       int    // its open files, most of which are connections; 0 = not known, as before Linux 6.2
	SizeErr     error  // why Shared, Private and RAM are not known
}

// Instance is one HAProxy in master-worker mode.
type Instance struct {
	Master  ID
	Workers []Worker // the oldest first
	CLIErr  error    // why the master's CLI could not be asked: ErrNoCLI, or a passing fault, as during a reload
}

// Scanner finds HAProxy instances among processes. It remembers what cannot change any more: the generation of a worker, that it is
// stopping, and where its cache lies.
type Scanner struct {
	procfs  string
	workers map[ID]*memory
	sockets map[ID]socket    // of the CLI, by the master
	shared  map[int][]uint64 // memory.shared by pid, of the last Scan
	last    int              // highest generation given
}

type memory struct {
	generation int
	stopping   string   // why, once proven
	nspid      int      // then known, too
	since      uint64   // clock tick since which it has been stopping
	shared     []uint64 // then, inodes of the shared memory that it maps
	cache      *Mapping // once recognised
	refusal    *Refusal // or else why there is none
	unproven   int      // looks in a row that have left it unknown
	seen       bool
}

// socket is what masterSocket has found.
type socket struct {
	path string
	err  error
}

// NewScanner makes a Scanner that reads the proc file system mounted at procfs.
func NewScanner(procfs string) *Scanner {
	return &Scanner{procfs: procfs, workers: map[ID]*memory{}}
}

// Known is what a Scanner knows of a worker that the next one, in a program started anew, cannot find out.
type Known struct {
	ID
	Generation int
	Since      uint64 // clock tick since boot since which it has been stopping; 0 = it was not known to be
}

// Known returns what is known of the workers there are.
func (s *Scanner) Known() []Known {
	var all []Known
	for id, m := range s.workers {
		all = append(all, Known{id, m.generation, m.since})
	}
	return all
}

// Recall takes up what another Scanner knew. Whether a worker is stopping is proven anew.
func (s *Scanner) Recall(known []Known) {
	for _, k := range known {
		s.workers[k.ID] = &memory{generation: k.Generation, since: k.Since}
		s.last = max(s.last, k.Generation)
	}
}

// proc is a process that looks like HAProxy.
type proc struct {
	ID
	ppid int
	exe  string
}

// Scan looks at the processes in pids (those of a cgroup) and returns the HAProxy masters among them with their workers. A worker
// is a child of its master that runs the same program; whatever else the master started is left alone.
func (s *Scanner) Scan(ctx context.Context, pids []int) ([]Instance, error) {
	procs, err := s.readProcs(pids)
	if err != nil {
		return nil, err
	}
	for _, m := range s.workers {
		m.seen = false
	}
	s.shared = map[int][]uint64{}
	sockets := map[ID]socket{}
	var found []Instance
	for _, f := range families(procs) {
		sock, known := s.sockets[f.master.ID]
		if cmdline, err := readCmdline(s.procfs, f.master.PID); err == nil {
			sock.path, sock.err = masterSocket(cmdline)
		} else if !known {
			continue
		}
		st, err := readStatus(s.procfs, f.master.PID)
		if err != nil {
			continue // it has ended
		}
		sockets[f.master.ID] = sock
		c := &cli{procfs: s.procfs, master: f.master.ID, path: sock.path, uid: st.uid, depth: st.depth, timeout: 2 * time.Second}
		in, err := s.instance(ctx, f, c, sock.err)
		if err != nil {
			return nil, err
		}
		found = append(found, in)
	}
	s.sockets = sockets
	maps.DeleteFunc(s.workers, func(_ ID, m *memory) bool { return !m.seen })
	return found, nil
}

// Recheck checks again, right before an action, what a Scan has found: that w is proven to be stopping, that it is still the same
// process and program, and that it listens nowhere. The CLI is not asked again. It does not answer while a reload is under way, which is when
// memory is shortest, and there is nothing new to learn: HAProxy never takes a stop back (src/haproxy.c, the variable stopping).
// The process is returned pinned.
func (s *Scanner) Recheck(w Worker) (*Process, error) {
	p, err := OpenProcess(s.procfs, w.ID)
	if err != nil {
		return nil, err
	}
	if w.State != Stopping {
		p.Close()
		return nil, fmt.Errorf("%w: %s", ErrNotStopping, w.Why)
	}
	p.exe = w.exe
	listens, err := p.listening()
	if err == nil && listens {
		err = fmt.Errorf("%w: it listens again", ErrNotStopping)
	}
	err = cmp.Or(err, p.sameProgram())
	if err != nil {
		p.Close()
		return nil, err
	}
	p.shared = w.shared
	return p, nil
}

// family is a master and its workers, the oldest first.
type family struct {
	master  proc
	workers []proc
}

func families(procs map[int]proc) []family {
	var found []family
	for _, master := range procs {
		if parent, ok := procs[master.ppid]; ok && parent.exe == master.exe {
			continue
		}
		f := family{master: master}
		for _, p := range procs {
			if p.ppid == master.PID && p.exe == master.exe {
				f.workers = append(f.workers, p)
			}
		}
		if len(f.workers) == 0 {
			continue // a configuration check, or a HAProxy without workers
		}
		slices.SortFunc(f.workers, func(a, b proc) int {
			return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
		})
		found = append(found, f)
	}
	slices.SortFunc(found, func(a, b family) int { return cmp.Compare(a.master.PID, b.master.PID) })
	return found
}

func (s *Scanner) readProcs(pids []int) (map[int]proc, error) {
	procs := map[int]proc{}
	for _, pid := range pids {
		p, err := readProc(s.procfs, pid)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading process %d: %w", pid, err)
		}
		if strings.HasPrefix(filepath.Base(p.exe), "haproxy") {
			procs[pid] = p
		}
	}
	return procs, nil
}

func readProc(procfs string, pid int) (proc, error) {
	st, err := readStat(procfs, pid)
	if err != nil {
		return proc{}, err
	}
	if st.state == 'Z' {
		return proc{}, ErrGone
	}
	exe, err := os.Readlink(filepath.Join(procfs, strconv.Itoa(pid), "exe"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) && !strings.HasPrefix(st.comm, "haproxy") {
		return proc{}, ErrGone // or not for us to look at, and nothing that we look for
	}
	if err != nil {
		return proc{}, err
	}
	// An upgrade of the package leaves old workers of a deleted file.
	exe = strings.TrimSuffix(exe, " (deleted)")
	return proc{ID{pid, st.start}, st.ppid, exe}, nil
}

// readCmdline reads the command line of a master. Those of workers, which list all older workers after -sf, are better left unread.
func readCmdline(procfs string, pid int) ([]string, error) {
	b, err := readProcFile(procfs, pid, "cmdline")
	if err != nil || len(b) == 0 {
		return nil, ErrGone // or in the middle of execve(2), as a master is in each reload
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
}

// askTime bounds how long the workers of a master are asked in one look: half of what the controller gives to all of it. Whoever does not
// answer must not keep us from measuring.
const askTime = 5 * time.Second

func (s *Scanner) instance(ctx context.Context, f family, c *cli, err error) (Instance, error) {
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	in := Instance{Master: f.master.ID}
	var answer string
	var old map[int]bool // of the workers that the master lists
	if err == nil {
		answer, err = c.run(asking, "show proc", maxShort)
		c.silent = err != nil && !errors.Is(err, errTooLong)
	}
	if err == nil {
		old, err = ParseShowProc(answer)
	}
	in.CLIErr = err
	now := bootTicks()
	var ask []*Worker
	in.Workers = make([]Worker, len(f.workers))
	for i, p := range f.workers {
		m := s.remember(p.ID)
		in.Workers[i] = Worker{ID: p.ID, Generation: m.generation, Age: ticks(now, p.Start), Master: f.master.ID, cli: c, exe: p.exe, shared: s.shared}
		ask = append(ask, &in.Workers[i])
	}
	// Those that have not answered are asked last.
	slices.SortStableFunc(ask, func(a, b *Worker) int { return cmp.Compare(s.workers[a.ID].unproven, s.workers[b.ID].unproven) })
	for _, w := range ask {
		s.judge(asking, w, s.workers[w.ID], in, old)
	}
	for i := range in.Workers {
		w, m := &in.Workers[i], s.workers[f.workers[i].ID]
		if ctx.Err() != nil {
			return in, fmt.Errorf("looking at worker %d: %w", w.PID, ctx.Err())
		}
		if w.State == Stopping {
			since := now
			if i+1 < len(f.workers) {
				since = f.workers[i+1].Start
			}
			if m.since == 0 {
				m.since = since
			}
			m.since = min(m.since, since) // the younger one may be gone by now
			w.StoppingFor = ticks(now, m.since)
		}
		s.measure(w, m)
	}
	return in, nil
}

func (s *Scanner) remember(id ID) *memory {
	m := s.workers[id]
	if m == nil {
		s.last++
		m = &memory{generation: s.last}
		s.workers[id] = m
	}
	m.seen = true
	return m
}

// judge decides the worker's state. Nothing makes a stopping worker serve again, so a proof is kept.
func (s *Scanner) judge(ctx context.Context, w *Worker, m *memory, in Instance, old map[int]bool) {
	if m.stopping != "" {
		w.State, w.Why, w.NSPID = Stopping, m.stopping, m.nspid
		return
	}
	p, err := OpenProcess(s.procfs, w.ID)
	if err != nil {
		w.Why = err.Error()
		return
	}
	defer p.Close()
	st, err := readStatus(s.procfs, w.PID)
	if err != nil {
		w.Why = err.Error()
		return
	}
	if w.NSPID = st.nspid; st.depth != w.cli.depth {
		w.Why = "it is in a pid namespace of its own: what its pid is there may be another worker's here"
		return
	}
	w.State, w.Why = p.prove(ctx, w, in, old)
	m.unproven++
	switch w.State {
	case Current:
		m.unproven = 0
	case Stopping:
		m.stopping, m.nspid = w.Why, w.NSPID
	}
}

// prove gathers what shows that a worker is stopping. All that can be asked must agree:
//   - no TCP socket of it listens,
//   - it says of itself "Stopping: 1",
//   - if its master's CLI answers and lists it, it is listed as old. The list alone lies: after a failed reload the worker that serves stands among
//     the old ones.
func (p *Process) prove(ctx context.Context, w *Worker, in Instance, old map[int]bool) (State, string) {
	info, err := w.ShowInfo(ctx)
	if err == nil && !info.Stopping {
		return Current, "it says Stopping: 0" // and the socket table, for which the kernel may walk a large hash, need not be read
	}
	listens, lerr := p.listening()
	isOld, listed := old[w.NSPID]
	switch {
	case lerr != nil:
		return Unknown, lerr.Error()
	case errors.Is(err, ErrNoCLI) && listens:
		return Current, "it listens" // as the only worker of a master without -S that was never reloaded
	case err != nil:
		return Unknown, err.Error()
	case listens:
		return Unknown, "it says Stopping: 1 but still listens"
	case in.CLIErr != nil:
		return Stopping, "it says Stopping: 1 and listens nowhere"
	case !listed: // before 3.4 the list ends after some 200 workers
		return Stopping, "it says Stopping: 1, listens nowhere, and the master does not list it"
	case !isOld:
		return Unknown, "it says Stopping: 1 but the master lists it as current"
	}
	return Stopping, "it says Stopping: 1, listens nowhere and is listed as old"
}

// measure reads what memory the worker holds: of a stopping one its cache, of others all that is shared. It is done in each tick for each of
// perhaps hundreds of workers.
func (s *Scanner) measure(w *Worker, m *memory) {
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
	if w.State == Stopping {
		w.Cache, w.CacheErr = m.cacheSize(p)
		if m.shared != nil {
			s.shared[w.PID] = m.shared
		}
		return
	}
	w.Shared, w.SizeErr = p.SharedMemory()
}

// SharedMemory is what all of the process's shared anonymous mappings hold, in bytes.
func (p *Process) SharedMemory() (sum uint64, err error) {
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
func (m *memory) cacheSize(p *Process) (uint64, error) {
	if m.shared == nil {
		maps, err := p.shmem()
		if err != nil {
			return 0, err
		}
		m.shared = []uint64{}
		for _, mapping := range maps {
			m.shared = append(m.shared, mapping.Inode)
		}
	}
	if m.refusal != nil {
		return 0, m.refusal
	}
	if m.cache != nil {
		return p.resident(*m.cache)
	}
	c, _, err := p.findSSLCache()
	if err != nil {
		errors.As(err, &m.refusal)
		return 0, err
	}
	defer c.Close()
	m.cache = &c.Mapping
	return c.Resident()
}

func (p *Process) resident(m Mapping) (uint64, error) {
	c, err := p.OpenMapping(m, false)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Resident()
}

// userHZ is the unit of start times in /proc/PID/stat, in ticks a second: 100 on all that Go runs on (asm-generic/param.h).
const userHZ = 100

func bootTicks() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // every Linux that has pidfds has it
	}
	return uint64(ts.Nano()) * userHZ / uint64(time.Second)
}

func ticks(now, then uint64) time.Duration {
	return time.Duration(now-min(now, then)) * (time.Second / userHZ)
}
