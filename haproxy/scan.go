package haproxy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hapressure/haproxy/cli"
	"hapressure/haproxy/proc"
)

// Scanner finds HAProxy instances among processes. It remembers what cannot change any
// more: the generation of a worker, that it is stopping, and where its cache lies.
//
// A Scanner is for one goroutine, except that Recheck may be called at any time.
type Scanner struct {
	procfs  string
	workers memories
	masters map[ID]proc.Turnstile
	last    int    // highest generation given
	scans   uint64 // number of the present Scan
}

// NewScanner makes a Scanner that reads the proc file system mounted at procfs.
func NewScanner(procfs string) *Scanner {
	return &Scanner{procfs: procfs, workers: memories{}, masters: map[ID]proc.Turnstile{}}
}

// Known is what a Scanner knows of a worker and a new one, after a restart, cannot find
// out.
type Known struct {
	ID
	Generation int `json:"Generation"`
	// Since is the clock tick since boot since which it has been stopping; 0 = not known.
	Since uint64 `json:"Since"`
}

// Known returns what is known of the workers that there are.
func (s *Scanner) Known() []Known {
	var all []Known
	for id, m := range s.workers {
		all = append(all, Known{id, m.generation, m.since})
	}
	return all
}

// Recall restores what another Scanner knew. That a worker is stopping is proven again.
func (s *Scanner) Recall(known []Known) {
	for _, k := range known {
		s.workers[k.ID] = &memory{generation: k.Generation, since: k.Since,
			reads: proc.NewTurnstile()}
		s.last = max(s.last, k.Generation)
	}
}

// Scan examines the processes in pids (those of a cgroup) and returns the HAProxy masters
// among them with their workers. A worker is a child of its master that runs the same
// program; other children of a master are ignored.
//
// A Scan asks HAProxy only what cannot be seen, and only workers that may be stopping
// (prove.go). It is bounded in time, whatever the processes do.
func (s *Scanner) Scan(ctx context.Context, pids []int) ([]Instance, error) {
	procs, err := s.readProcs(ctx, pids)
	if err != nil {
		return nil, err
	}
	for _, m := range s.workers {
		m.seen = false
	}
	s.scans++
	masters := map[ID]proc.Turnstile{}
	shared := map[int][]uint64{}
	var found []Instance
	for _, f := range families(procs) {
		st, err := proc.ReadStatus(s.procfs, f.master.PID)
		if err != nil {
			continue // it has ended
		}
		masters[f.master.ID] = cmp.Or(s.masters[f.master.ID], proc.NewTurnstile())
		found = append(found, s.instance(f, st, masters[f.master.ID], shared))
	}
	s.masters = masters
	maps.DeleteFunc(s.workers, func(_ ID, m *memory) bool { return !m.seen })
	s.workers.prove(ctx, found, s.scans)
	s.workers.measure(ctx, found, s.scans, shared)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("examining %d HAProxy instances: %w", len(found), ctx.Err())
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
	now := proc.BootTicks()
	for i, p := range f.workers {
		m := s.remember(p.ID)
		w := Worker{ID: p.ID, Master: f.master.ID, procfs: s.procfs, exe: p.exe, reads: m.reads,
			shared: shared, Generation: m.generation, Age: proc.Between(p.Start, now)}
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

func (s *Scanner) remember(id ID) *memory {
	m := s.workers[id]
	if m == nil {
		s.last++
		m = &memory{generation: s.last, reads: proc.NewTurnstile()}
		s.workers[id] = m
	}
	m.seen = true
	return m
}

// process is a process that resembles HAProxy.
type process struct {
	ID
	ppid int
	exe  string
}

// family is a master and its workers, the oldest first.
type family struct {
	master  process
	workers []process
}

func families(procs map[int]process) []family {
	children := map[int][]process{} // by the parent's pid
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
		slices.SortFunc(workers, func(a, b process) int {
			return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
		})
		found = append(found, family{master, workers})
	}
	slices.SortFunc(found, func(a, b family) int { return cmp.Compare(a.master.PID, b.master.PID) })
	return found
}

func (s *Scanner) readProcs(ctx context.Context, pids []int) (map[int]process, error) {
	procs := map[int]process{}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("reading %d processes: %w", len(pids), ctx.Err())
		}
		p, err := readProcess(s.procfs, pid)
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

// readProcess reads what Scan needs to know of a process. ErrGone: it has ended, or it is
// not called haproxy and hides its program.
func readProcess(procfs string, pid int) (process, error) {
	st, err := proc.ReadStat(procfs, pid)
	if err != nil {
		return process{}, err
	}
	if st.State == 'Z' {
		return process{}, ErrGone
	}
	exe, err := proc.Program(procfs, pid)
	if errors.Is(err, os.ErrPermission) && !strings.HasPrefix(st.Comm, "haproxy") {
		return process{}, ErrGone
	}
	return process{ID{PID: pid, Start: st.Start}, st.PPID, exe}, err
}

// Runs reports whether HAProxy, by its name (/proc/PID/comm), is among the processes.
func Runs(procfs string, pids []int) bool {
	return slices.ContainsFunc(pids, func(pid int) bool {
		name, err := proc.ReadFile(procfs, pid, "comm")
		return err == nil && bytes.HasPrefix(name, []byte("haproxy"))
	})
}
