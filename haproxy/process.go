package haproxy

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strings"

	"hapressure/haproxy/proc"
)

// process is a process that runs HAProxy.
type process struct {
	ID
	ppid int
	exe  string
}

func byAge(a, b process) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
}

// family is a master and its workers, the oldest first.
type family struct {
	master  process
	workers []process
}

// families returns the masters with their workers, and the processes that have neither a
// parent nor a child that runs HAProxy.
func families(procs map[int]process) (found []family, rest []process) {
	children := map[int][]process{} // by the parent's pid
	for _, p := range procs {
		if _, ok := procs[p.ppid]; ok {
			children[p.ppid] = append(children[p.ppid], p)
		}
	}
	for pid, p := range procs {
		if _, ok := procs[p.ppid]; ok {
			continue // a worker, perhaps one that has forked
		}
		workers := children[pid]
		if len(workers) == 0 {
			rest = append(rest, p)
			continue
		}
		slices.SortFunc(workers, byAge)
		found = append(found, family{p, workers})
	}
	slices.SortFunc(found, func(a, b family) int { return cmp.Compare(a.master.PID, b.master.PID) })
	return found, rest
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
