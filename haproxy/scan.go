package haproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"hapressure/haproxy/cli"
	"hapressure/haproxy/proc"
)

// Scanner finds HAProxy instances among processes. It remembers what cannot change any
// more: the generation of a worker, that it is stopping, and where its cache lies.
//
// A Scanner is for one goroutine, except that Recheck may be called at any time.
type Scanner struct {
	procfs   string
	programs *Programs
	workers  memories
	others   map[ID]proc.Turnstile // of processes that are no workers
	leftOut  []LeftOut
	last     int    // highest generation given
	lineages int    // highest lineage given
	scans    uint64 // number of the present Scan
}

// NewScanner makes a Scanner that reads the proc file system mounted at procfs.
func NewScanner(procfs string) *Scanner {
	return &Scanner{procfs: procfs, programs: NewPrograms(procfs), workers: memories{},
		others: map[ID]proc.Turnstile{}}
}

// Known is what a Scanner knows and a new one, after a restart, cannot find out.
type Known struct {
	Workers []KnownWorker `json:"Workers"`
	// Last is the highest generation given. Its worker may have ended.
	Last int `json:"Last,omitempty"`
}

// KnownWorker is what a Scanner knows of a worker.
type KnownWorker struct {
	ID
	Generation int `json:"Generation"` // 0 = it has none yet
	// Since is the clock tick since boot since which it has been stopping; 0 = not known.
	Since uint64 `json:"Since"`
	// Lineage is the same for processes of one HAProxy without a master; 0 = it has one.
	Lineage int `json:"Lineage,omitempty"`
	// Signalled means that a younger process of the lineage has stopped it.
	Signalled bool `json:"Signalled,omitempty"`
}

// Last returns the highest generation given.
func (s *Scanner) Last() int { return s.last }

// Known returns what is known, of those workers that there are.
func (s *Scanner) Known() Known {
	known := Known{Last: s.last}
	for id, m := range s.workers {
		known.Workers = append(known.Workers,
			KnownWorker{id, m.generation, m.since, m.lineage, m.signalled})
	}
	return known
}

// Recall restores what another Scanner knew. That a worker is stopping is proven again.
func (s *Scanner) Recall(known Known) {
	s.last = max(s.last, known.Last)
	for _, k := range known.Workers {
		s.workers[k.ID] = &memory{generation: k.Generation, since: k.Since,
			lineage: k.Lineage, signalled: k.Signalled, reads: proc.NewTurnstile()}
		s.last = max(s.last, k.Generation)
		s.lineages = max(s.lineages, k.Lineage)
	}
}

// Scan examines the processes in pids (those of a cgroup) and returns the HAProxy
// instances among them: masters with their workers, and those without a master. A worker
// is a child of its master that runs HAProxy too, of whatever path and release; other
// children of a master are ignored.
//
// A Scan asks HAProxy only what cannot be seen, and only workers that may be stopping
// (prove.go). It is bounded in time, whatever the processes do.
func (s *Scanner) Scan(ctx context.Context, pids []int) ([]Instance, error) {
	for _, m := range s.workers {
		m.seen = false
	}
	s.scans++
	s.leftOut = nil
	procs, err := s.readProcs(ctx, pids)
	if err != nil {
		return nil, err
	}
	earlier := s.others
	s.others = map[ID]proc.Turnstile{}
	shared := map[int][]uint64{}
	var found []Instance
	withMasters, rest := families(procs)
	for _, f := range withMasters {
		st, err := proc.ReadStatus(s.procfs, f.master.PID)
		if err != nil {
			continue // it has ended
		}
		s.others[f.master.ID] = cmp.Or(earlier[f.master.ID], proc.NewTurnstile())
		found = append(found, s.instance(f, st, s.others[f.master.ID], shared))
	}
	found = append(found, s.withoutMaster(ctx, rest, shared, earlier)...)
	maps.DeleteFunc(s.workers, func(_ ID, m *memory) bool { return !m.seen })
	s.workers.prove(ctx, found, s.scans)
	s.number(found)
	s.workers.measure(ctx, found, s.scans, shared)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("examining HAProxy instances (%d): %w", len(found), ctx.Err())
	}
	return found, nil
}

// Recheck proves again that a worker is stopping, immediately before an action. The
// worker is not asked again: a question has its cost, and HAProxy never takes a stop
// back. ErrGone: the worker has ended. It may be called beside a Scan.
func (s *Scanner) Recheck(ctx context.Context, w Worker) (*Stopping, error) {
	return recheck(ctx, s.procfs, w)
}

// instance is what is known of a family before it is examined.
func (s *Scanner) instance(f family, master proc.Status, reads proc.Turnstile,
	shared map[int][]uint64) Instance {
	in := Instance{Master: f.master.ID, Workers: make([]Worker, len(f.workers))}
	for i, p := range f.workers {
		w := s.worker(p, shared)
		w.Master = f.master.ID
		m := s.workers[p.ID]
		if m.cli == nil {
			var err error
			if m.cli, err = cli.New(s.procfs, p.ID, f.master.ID, master, reads); err != nil {
				w.Why = err.Error()
			}
		}
		w.cli = m.cli
		in.Workers[i] = w
	}
	return in
}

// worker is what is known of a worker before it is examined.
func (s *Scanner) worker(p process, shared map[int][]uint64) Worker {
	m := s.remember(p.ID)
	return Worker{ID: p.ID, procfs: s.procfs, exe: p.exe, reads: m.reads, shared: shared,
		Age: proc.Between(p.Start, proc.BootTicks())}
}

func (s *Scanner) remember(id ID) *memory {
	m := s.workers[id]
	if m == nil {
		m = &memory{reads: proc.NewTurnstile(), seen: true}
		s.workers[id] = m
	}
	return m
}

// number gives the workers of found their generations, those of an instance by their age.
// A process that has not yet started may end before it does: with -D one reads the
// configuration and starts another, and a reload may fail. Its number is therefore only
// lent, until a process starts.
func (s *Scanner) number(found []Instance) {
	started := func(w Worker) bool {
		return s.workers[w.ID].started || w.State == StateStopping
	}
	for _, in := range found {
		for i, w := range in.Workers {
			m := s.workers[w.ID]
			if m.generation == 0 && slices.ContainsFunc(in.Workers[i:], started) {
				s.last++
				m.generation = s.last
			}
		}
	}
	lent := s.last
	for _, in := range found {
		for i := range in.Workers {
			w := &in.Workers[i]
			if w.Generation = s.workers[w.ID].generation; w.Generation == 0 {
				lent++
				w.Generation = lent
			}
		}
	}
}

func (s *Scanner) readProcs(ctx context.Context, pids []int) (map[int]process, error) {
	procs := map[int]process{}
	recognise, cancel := context.WithTimeout(ctx, programsTime)
	defer cancel()
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("reading processes (%d): %w", len(pids), ctx.Err())
		}
		p, err := readProcess(s.procfs, pid)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading process %d: %w", pid, err)
		}
		switch {
		case s.programs.runHAProxy(recognise, p):
			procs[pid] = p
			if m := s.workers[p.ID]; m != nil {
				m.seen = true // also of one that resembles a master while it has a child
			}
		case isNamed(p.exe):
			s.leaveOut(p, "its program has the name of HAProxy, but lacks the section "+
				"of HAProxy's initcalls")
		}
	}
	return procs, nil
}

// LeftOut is a process that resembles HAProxy, but is neither a master nor a worker nor a
// HAProxy without a master.
type LeftOut struct {
	PID     int
	Program string // the path of its program
	Why     string // it is left out
}

// LeftOut returns the processes that the last Scan left out, by pid.
func (s *Scanner) LeftOut() []LeftOut {
	slices.SortFunc(s.leftOut, func(a, b LeftOut) int { return cmp.Compare(a.PID, b.PID) })
	return s.leftOut
}

func (s *Scanner) leaveOut(p process, why string) {
	s.leftOut = append(s.leftOut, LeftOut{p.PID, p.exe, why})
}

// argumentsTime bounds the readings of command lines in one Scan, whatever the processes
// do. A process whose turn does not come is left out, and comes first in the next Scan.
const argumentsTime = 3 * time.Second

var errNoArgumentsTime = errors.New("its turn to be read has not come yet")

// withoutMaster makes instances of those processes that run without a master, and leaves
// out the others. earlier has the turnstiles of processes that were left out before.
func (s *Scanner) withoutMaster(ctx context.Context, all []process, shared map[int][]uint64,
	earlier map[ID]proc.Turnstile) (found []Instance) {
	ctx, cancel := context.WithTimeoutCause(ctx, argumentsTime, errNoArgumentsTime)
	defer cancel()
	leftOutBefore := func(p process) int {
		if earlier[p.ID] != nil {
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(a, b process) int {
		return cmp.Or(cmp.Compare(leftOutBefore(a), leftOutBefore(b)), byAge(a, b))
	})
	var alone []process
	for _, p := range all {
		switch why, err := s.whyNotAlone(ctx, p, earlier[p.ID]); {
		case errors.Is(err, ErrGone):
		case err != nil:
			s.leaveOut(p, err.Error())
		case why != "":
			s.leaveOut(p, why)
		default:
			alone = append(alone, p)
		}
	}
	slices.SortFunc(alone, byAge)
	s.workers.connect(alone)
	at := map[int]int{} // indexes in found, by lineage
	for _, p := range alone {
		lineage := s.workers[p.ID].lineage
		i, ok := at[lineage]
		if !ok {
			i = len(found)
			at[lineage], found = i, append(found, Instance{})
		}
		found[i].Workers = append(found[i].Workers, s.worker(p, shared))
	}
	return found
}

// whyNotAlone finds out the standing of a process that is neither a master with workers
// nor a worker, and returns why it does not run without a master.
func (s *Scanner) whyNotAlone(ctx context.Context, p process, reads proc.Turnstile) (
	why string, err error) {
	m := s.workers[p.ID]
	if m == nil || m.standing == nil {
		reads = cmp.Or(reads, proc.NewTurnstile())
		s.others[p.ID] = reads
		args, err := readArguments(ctx, s.procfs, p.PID, reads)
		if err != nil {
			return "", fmt.Errorf("reading its command line: %w", err)
		}
		if why := s.whyNoInstance(ctx, p, args); why != "" {
			return why, nil
		}
		m = s.remember(p.ID)
		m.standing = &standing{arguments: args}
		if m.lineage == 0 {
			s.lineages++
			m.lineage = s.lineages
		}
	}
	if m.stopping != "" {
		return "", nil // its standing is of no more use
	}
	return "", m.standing.read(s.procfs, p.PID)
}

// whyNoInstance returns why a process with these arguments is no HAProxy of its own; ""
// if it is.
func (s *Scanner) whyNoInstance(ctx context.Context, p process, args arguments) string {
	parent, err := readProcess(s.procfs, p.ppid)
	switch {
	case args.checks:
		return "it checks a configuration or prints its version, and exits"
	case args.masterWorker:
		return "it is a master without workers, or a worker whose master is not examined"
	case err == nil && s.programs.runHAProxy(ctx, parent):
		return fmt.Sprintf("it is a child of HAProxy %d", p.ppid)
	}
	return ""
}
