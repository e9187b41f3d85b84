package doctor

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"hapressure/cgroup"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller/status"
)

func checkTargets(_ context.Context, e *exam) {
	var covered []int // processes
	for _, t := range e.status.Targets {
		e.say(fine, "", "%s (cgroup %s)", t.Name, t.Cgroup)
		// checkMemory reports the error
		if group, err := cgroup.Open(e.mount, t.Cgroup); err == nil {
			pids, _ := group.Procs()
			covered = append(covered, pids...)
			group.Close()
		}
	}
	if e.policy != nil && e.statusErr == nil {
		for _, t := range e.policy.Targets {
			name := selector.NameOf(t)
			running := func(s status.Target) bool { hit, _ := path.Match(name, s.Name); return hit }
			if !t.Disabled && !slices.ContainsFunc(e.status.Targets, running) {
				e.say(warning, "add HAProxy's unit or cgroup to targets: of the policy",
					"%s of the policy is not running", name)
			}
		}
	}
	if e.foundErr != nil {
		e.say(warning, "", "%v", e.foundErr)
	}
	known := map[int]bool{}
	for _, in := range e.found {
		if !slices.Contains(covered, in.Master.PID) {
			e.say(warning, "add its unit or cgroup to targets: of the policy",
				"HAProxy with master %d is no target", in.Master.PID)
		}
		known[in.Master.PID] = true
		for _, w := range in.Workers {
			known[w.PID] = true
		}
	}
	for _, pid := range e.pids {
		if comm, _ := os.ReadFile(filepath.Join(e.procfs, strconv.Itoa(pid),
			"comm")); string(comm) == "haproxy\n" && !known[pid] {
			e.say(warning, "start it with -W or -Ws",
				"HAProxy process %d is not in master-worker mode", pid)
		}
	}
}
