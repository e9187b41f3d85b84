package doctor

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"hapressure/cgroup"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller/status"
	"hapressure/haproxy"
)

// checkTargets compares the policy's targets with the HAProxy that there is.
func checkTargets(_ context.Context, e *exam) {
	targets := map[int]string{} // by the pids of their processes
	for _, t := range e.status.Targets {
		e.say(fine, "", "%s (cgroup %s)", t.Name, t.Cgroup)
		// checkMemory reports the error
		if group, err := cgroup.Open(e.mount, t.Cgroup); err == nil {
			pids, _ := group.Procs()
			for _, pid := range pids {
				targets[pid] = t.Name
			}
			group.Close()
		}
	}
	e.checkPolicyTargets()
	if e.foundErr != nil {
		e.say(warning, "", "%v", e.foundErr)
	}
	for _, in := range e.found {
		e.checkGuarded(in, targets)
	}
	for _, p := range e.leftOut {
		e.say(fine, "", "process %d (%s) is left out: %s", p.PID, p.Program, p.Why)
	}
}

// checkPolicyTargets finds targets of the policy that do not run.
func (e *exam) checkPolicyTargets() {
	if e.policy == nil || e.statusErr != nil {
		return
	}
	for _, t := range e.policy.Targets {
		name := selector.NameOf(t)
		running := func(s status.Target) bool { hit, _ := path.Match(name, s.Name); return hit }
		if !t.Disabled && !slices.ContainsFunc(e.status.Targets, running) {
			e.say(warning, "add HAProxy's unit or cgroup to targets: of the policy",
				"%s of the policy is not running", name)
		}
	}
}

// checkGuarded says how an instance runs, and which target covers it.
func (e *exam) checkGuarded(in haproxy.Instance, targets map[int]string) {
	pids := processesOf(in)
	about := fmt.Sprintf("%s (workers: %d), %s", in, len(in.Workers), e.placeOf(pids[0]))
	for _, pid := range pids {
		if target, guarded := targets[pid]; guarded {
			e.say(fine, "", "%s: covered by target %s", about, target)
			return
		}
	}
	e.say(warning, "add its unit or cgroup to targets: of the policy", "%s: no target", about)
}

// processesOf returns the pids of an instance, the master's first if it has one.
func processesOf(in haproxy.Instance) (pids []int) {
	if in.Master != (haproxy.ID{}) {
		pids = append(pids, in.Master.PID)
	}
	for _, w := range in.Workers {
		pids = append(pids, w.PID)
	}
	return pids
}

// placeOf names the unit that a process belongs to, or its cgroup.
func (e *exam) placeOf(pid int) string {
	dir := filepath.Join(e.procfs, strconv.Itoa(pid))
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
	_, group, known := strings.Cut(strings.TrimSuffix(string(text), "\n"), "0::")
	ns, _ := os.Readlink(filepath.Join(dir, "ns/pid"))
	own, _ := os.Readlink(filepath.Join(e.procfs, "self/ns/pid"))
	units := unitsOf(group)
	switch unit := units[len(units)-1]; {
	case !known:
		return "in an unknown cgroup"
	case ns != own:
		return "in a container, cgroup " + group
	case path.Ext(unit) == ".slice":
		return "in cgroup " + group
	default:
		return "in " + unit
	}
}
