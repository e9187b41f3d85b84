package doctor

import (
	"context"

	"hapressure/cgroup"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
	"hapressure/haproxy"
)

func checkMemory(_ context.Context, e *exam) {
	for _, t := range e.status.Targets {
		group, err := cgroup.Open(e.mount, t.Cgroup)
		if err != nil {
			e.say(problem, "", "%v", err)
			continue
		}
		e.checkGroup(t, group)
		group.Close()
	}
}

func (e *exam) checkGroup(t status.Target, group *cgroup.Group) {
	if _, err := group.Pressure(); err != nil {
		e.say(problem, "boot with psi=1", "%s: %v", t.Name, err)
	}
	limits, err := group.Limits()
	if err != nil {
		e.say(problem, "systemctl set-property "+t.Name+" MemoryAccounting=yes", "%s: %v",
			t.Name, err)
	} else if len(limits) == 0 {
		e.say(warning, "systemctl set-property "+t.Name+" MemoryMax=...",
			"%s has no limit of its own, only the host's memory", t.Name)
	}
	for _, l := range limits {
		e.say(fine, "", "%s of %s, %s used", l, render.Size(l.Bytes), render.Size(l.Usage))
	}
	if host, err := cgroup.Host(e.procfs); err == nil { // checkHost reports the error
		limits = append(limits, host.Limit())
	}
	for _, m := range t.Masters {
		for _, w := range m.Workers {
			if w.State == haproxy.StateCurrent.String() && w.SizeError == "" {
				e.checkFootprint(t.Name, *w.Shared+*w.Private, limits)
			}
		}
	}
}

// checkFootprint checks whether a reload fits under all limits. The check of the
// configuration makes a cache, and so does the new worker: docs/operations.md.
func (e *exam) checkFootprint(target string, each uint64, limits []cgroup.Limit) {
	const do = "raise the limit to three times as much, or lower tune.ssl.cachesize"
	for _, l := range limits {
		switch of := l.String(); {
		case l.Bytes/2 < each:
			e.say(problem, do, "%s: a worker holds %s, and two of them do not fit into %s of %s: "+
				"reloads fail", target, render.Size(each), of, render.Size(l.Bytes))
		case l.Bytes/3 < each:
			e.say(warning, do, "%s: a worker holds %s, and three of them do not fit into %s "+
				"of %s: "+
				"a reload may fail", target, render.Size(each), of, render.Size(l.Bytes))
		}
	}
}
