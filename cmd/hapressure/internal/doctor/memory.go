package doctor

import (
	"context"
	"math"

	"hapressure/cgroup"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/haproxy"
)

func checkMemory(_ context.Context, e *exam) {
	for _, t := range e.status.Targets {
		group, err := cgroup.Open(e.mount, t.Cgroup)
		if err != nil {
			e.say(problem, "", "%v", err)
			continue
		}
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
		least := uint64(math.MaxUint64)
		for _, l := range limits {
			e.say(fine, "", "%s of %s, %s used", l, render.Size(l.Bytes), render.Size(l.Usage))
			least = min(least, l.Bytes)
		}
		for _, m := range t.Masters {
			for _, w := range m.Workers {
				if w.State != haproxy.StateCurrent.String() || w.SizeError != "" {
					continue
				}
				// The check of the configuration makes a cache, and so does the new
				// worker: docs/operations.md.
				each, do := *w.Shared+*w.Private,
					"raise the limit to three times as much, or lower tune.ssl.cachesize"
				if least/2 < each {
					e.say(problem, do, "%s: a worker holds %s, and two of them do not fit into %s: reloads fail", t.Name, render.Size(each), render.Size(least))
				} else if least/3 < each {
					e.say(warning, do, "%s: a worker holds %s, and three of them do not fit into %s: a reload may fail", t.Name, render.Size(each), render.Size(least))
				}
			}
		}
		group.Close()
	}
}
