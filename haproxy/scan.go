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

// Scanner finds HAProxy instances among processes. It remembers what cannot change any more: the generation of a worker, that it is
// stopping, and where its cache lies.
type Scanner struct {
	procfs  string
	workers map[ID]*memory
	masters map[ID]turnstile
	shared  map[int][]uint64 // memory.shared by pid, of the last Scan
	last    int              // highest generation given
	scans   uint64           // number of the present Scan
}

// memory is what a Scanner remembers of one worker.
type memory struct {
	generation int
	started    bool     // it was seen in its event loop
	listener   listener // on which it was last seen to accept
	stopping   string   // why, once proven
	since      uint64   // clock tick since which it has been stopping
	shared     []uint64 // then, inodes of the shared memory that it maps
	cache      *Mapping // once recognised
	refusal    *Refusal // or else why there is none
	turn       uint64   // number of the Scan that last examined its sockets
	measured   uint64   // number of the Scan that last measured it
	seen       bool
	cli        *cli
	reads      turnstile
}

// NewScanner makes a Scanner that reads the proc file system mounted at procfs.
func NewScanner(procfs string) *Scanner {
	return &Scanner{procfs: procfs, workers: map[ID]*memory{}, masters: map[ID]turnstile{}}
}

// Known is what a Scanner knows of a worker that the next one, in a program started anew, cannot find out.
type Known struct {
	ID
	Generation int    `json:"Generation"`
	Since      uint64 `json:"Since"` // clock tick since boot since which it has been stopping; 0 = it was not known to be
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
		s.workers[k.ID] = &memory{generation: k.Generation, since: k.Since, reads: newTurnstile()}
		s.last = max(s.last, k.Generation)
	}
}

// Bounds of one Scan, whatever the processes do that it reads. They are shared by all processes of the Scan; a worker whose
// turn does not come within them is unknown, or not measured, and comes first in the next Scan.
const (
	proofTime   = 5 * time.Second
	measureTime = 3 * time.Second
)

var (
	errNoProofTime   = errors.New("its turn to be examined has not come yet")
	errNoMeasureTime = errors.New("its turn to be measured has not come yet")
)

// Scan examines the processes in pids (those of a cgroup) and returns the HAProxy masters among them with their workers. A worker
// is a child of its master that runs the same program; whatever else the master started is left alone.
func (s *Scanner) Scan(ctx context.Context, pids []int) ([]Instance, error) {
	procs, err := s.readProcs(ctx, pids)
	if err != nil {
		return nil, err
	}
	for _, m := range s.workers {
		m.seen = false
	}
	s.scans++
	s.shared = map[int][]uint64{}
	masters := map[ID]turnstile{}
	var found []Instance
	for _, f := range families(procs) {
		st, err := readStatus(s.procfs, f.master.PID)
		if err != nil {
			continue // it has ended
		}
		masters[f.master.ID] = cmp.Or(s.masters[f.master.ID], newTurnstile())
		found = append(found, s.instance(f, st, masters[f.master.ID]))
	}
	s.masters = masters
	maps.DeleteFunc(s.workers, func(_ ID, m *memory) bool { return !m.seen })
	s.prove(ctx, found)
	s.measure(ctx, found)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("examining %d HAProxy instances: %w", len(found), ctx.Err())
	}
	return found, nil
}

// instance is what is known of a family before it is examined.
func (s *Scanner) instance(f family, master status, reads turnstile) Instance {
	in := Instance{Master: f.master.ID, Workers: make([]Worker, len(f.workers))}
	now := bootTicks()
	for i, p := range f.workers {
		w, m := &in.Workers[i], s.remember(p.ID)
		*w = Worker{ID: p.ID, Master: f.master.ID, procfs: s.procfs, exe: p.exe, reads: m.reads, shared: s.shared,
			Generation: m.generation, Age: ticks(now, p.Start)}
		if m.cli == nil {
			m.cli, w.Why = newCLI(s.procfs, p.ID, f.master.ID, master, reads)
		}
		if w.cli = m.cli; w.cli != nil {
			w.NSPID = w.cli.nspid
		}
	}
	return in
}

func (s *Scanner) remember(id ID) *memory {
	m := s.workers[id]
	if m == nil {
		s.last++
		m = &memory{generation: s.last, reads: newTurnstile()}
		s.workers[id] = m
	}
	m.seen = true
	return m
}

// proc is a process that looks like HAProxy.
type proc struct {
	ID
	ppid int
	exe  string
}

// family is a master and its workers, the oldest first.
type family struct {
	master  proc
	workers []proc
}

func families(procs map[int]proc) []family {
	children := map[int][]proc{} // by the parent's pid
	for _, p := range procs {
		if parent, ok := procs[p.ppid]; ok && parent.exe == p.exe {
			children[p.ppid] = append(children[p.ppid], p)
		}
	}
	var found []family
	for pid, workers := range children {
		master := procs[pid]
		if parent, ok := procs[master.ppid]; ok && parent.exe == master.exe {
			continue // a worker that has forked
		}
		slices.SortFunc(workers, func(a, b proc) int {
			return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
		})
		found = append(found, family{master, workers})
	}
	slices.SortFunc(found, func(a, b family) int { return cmp.Compare(a.master.PID, b.master.PID) })
	return found
}

func (s *Scanner) readProcs(ctx context.Context, pids []int) (map[int]proc, error) {
	procs := map[int]proc{}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("reading %d processes: %w", len(pids), ctx.Err())
		}
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
