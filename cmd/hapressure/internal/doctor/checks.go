package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hapressure/cgroup"
	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/controller/status"
	"hapressure/haproxy"
)

var checks = []struct {
	name string
	look func(context.Context, *exam)
}{
	{"host", checkHost}, {"policy", checkPolicy}, {"service", checkService},
	{"rights", checkRights}, {"recordings", checkRecordings}, {"state", checkStates},
	{"targets", checkTargets}, {"memory", checkMemory}, {"haproxy", checkHAProxy},
}

// checkHost checks cgroup v2, memory and swap. checkRights finds what an old kernel
// lacks.
func checkHost(_ context.Context, e *exam) {
	if e.mountErr != nil {
		e.say(problem, "boot with systemd.unified_cgroup_hierarchy=1", "%v", e.mountErr)
	}
	memory, err := cgroup.Host(e.procfs)
	swaps, _ := os.ReadFile(filepath.Join(e.procfs, "swaps"))
	if err != nil {
		e.say(problem, "", "%v", err)
	} else if strings.Contains(string(swaps), "zram") {
		e.say(warning, "", "some swap is zram: page-out frees less than it writes")
	} else {
		e.say(fine, "", "%s of memory, %s of swap", render.Size(memory.Total),
			render.Size(memory.SwapTotal))
	}
}

func checkPolicy(_ context.Context, e *exam) {
	switch s := e.status.Policy; {
	case e.policyErr != nil:
		e.say(problem, "hapressure policy check", "%v", e.policyErr)
	case s.Rejected != "":
		e.say(problem, "systemctl reload hapressure",
			"%s is in force, because the files had mistakes: %s", s.Origin, s.Rejected)
	case e.status.Daemon != nil && s.SHA256 != controller.Digest(e.policy):
		e.say(warning, "systemctl reload hapressure", "%s is in force, and %s has changed since",
			s.Origin, policyfiles.Origin(e.files))
	default:
		e.say(fine, "", "%s", policyfiles.Origin(e.files))
	}
}

func checkService(_ context.Context, e *exam) {
	switch p := e.service; {
	case len(p) == 0:
		e.say(fine, "", "systemd does not answer, as in a container")
	case p["LoadState"] != "loaded":
		e.say(warning, "install the package", "hapressure.service is %s", p["LoadState"])
	case p["ActiveState"] != "active":
		e.say(problem, "systemctl start hapressure", "hapressure.service is %s", p["ActiveState"])
	case p["UnitFileState"] != "enabled":
		e.say(warning, "systemctl enable hapressure",
			"hapressure.service is %s: it is not started after a reboot", p["UnitFileState"])
	}
	switch s := e.status.Systemd; {
	case s.By == "": // the policy names no unit
	case s.Why != "":
		e.say(warning, "systemctl start dbus.socket", "units are found by %s: %s; %s", s.By, s.Why,
			s.Lacks)
	default:
		e.say(fine, "", "units are found by %s", s.By)
	}
	d := e.status.Daemon
	switch {
	case e.statusErr != nil && e.mountErr == nil:
		e.say(warning, "", "%v", e.statusErr)
	case d == nil:
		e.say(warning, "systemctl start hapressure", "no daemon is running: HAProxy is not guarded")
	case d.Version != e.version:
		e.say(warning, "systemctl restart hapressure",
			"the daemon is hapressure %s, and %s is installed", d.Version, e.version)
	case d.DryRun:
		e.say(warning, "run it without --dry-run", "the daemon only reports what it would do")
	default:
		e.say(fine, "", "hapressure %s, up for %s", d.Version, render.Since(e.status.At, d.Started))
	}
}

func checkRights(_ context.Context, e *exam) {
	missing, whose := controller.MissingPrivileges(e.procfs), "this command"
	// a daemon of an earlier release does not report them
	if d := e.status.Daemon; d != nil && d.MissingRights != nil {
		missing, whose = d.MissingRights, "the daemon"
	} else if e.say(warning, "start the daemon",
		"no daemon reports the privileges of its sandbox"); os.Geteuid() != 0 {
		return // this command has no privileges
	}
	for _, r := range missing {
		level := problem
		if len(r.Actions) == 0 || r.Where != "" {
			level = warning
		}
		e.say(level, r.Remedy, "%s", r)
	}
	if len(missing) == 0 {
		e.say(fine, "", "%s has all privileges that actions need", whose)
	}
}

func checkRecordings(_ context.Context, e *exam) {
	dir := e.recordings.Dir
	if dir == "" {
		e.say(fine, "", "the daemon records nothing")
		return
	}
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	if free := st.Bavail * uint64(st.Bsize); err == nil && (free < 64<<20 ||
		st.Flags&unix.ST_RDONLY != 0) {
		e.say(warning, "free space, or lower --recordings-size",
			"%s is full or read-only: %s are free", dir, render.Size(free))
	} else if err == nil && os.Geteuid() == 0 && unix.Access(dir, unix.W_OK) != nil {
		e.say(warning, "see 'systemctl cat hapressure' for StateDirectory= and ProtectSystem=",
			"%s cannot be written", dir)
	}
	used, err := e.recordings.Usage()
	over := e.recordings.Exceeded(used, len(e.status.Targets))
	e.sayUsage(dir, used, err, over, e.recordings.Bounds())
}

func checkStates(_ context.Context, e *exam) {
	used, err := controller.StateUsage(e.states)
	e.sayUsage(e.states, used, err, controller.StatesExceeded(used, len(e.status.Targets)),
		controller.StateBounds())
}

// sayUsage reports how much the daemon stores in a folder, and the bound.
func (e *exam) sayUsage(dir string, used controller.Usage, err error, over bool, bounds string) {
	about := ""
	if used.AtLeast {
		about = "at least "
	}
	kept := fmt.Sprintf("%s: %s%s in %d files of %d targets", dir, about,
		render.Size(uint64(used.Bytes)), used.Files, used.Targets)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.say(fine, "", "%s: nothing was written yet", dir)
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		e.say(fine, "", "only root can read %s", dir)
	case err != nil:
		e.say(warning, "", "%s cannot be read: %v", dir, err)
	case over:
		e.say(warning, "see 'journalctl -t hapressure' for errors: the daemon removes the oldest every 5 minutes",
			"%s, more than the bound: %s", kept, bounds)
	default:
		e.say(fine, "", "%s; bound: %s", kept, bounds)
	}
}

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

func checkHAProxy(_ context.Context, e *exam) {
	for _, in := range e.found {
		name := fmt.Sprintf("master %d", in.Master.PID)
		if in.CLIErr != nil {
			e.say(warning, "", "%s: the CLI of a worker does not answer: %v", name, in.CLIErr)
		}
		switch limit, set, err := haproxy.HardStopAfter(e.procfs, in); {
		case err != nil:
			e.say(warning, "", "%s: %v", name, err)
		case set:
			e.say(fine, "", "%s has hard-stop-after %s", name, render.Span(limit.Seconds()))
		default:
			e.say(fine, "", "%s has no hard-stop-after: only the policy bounds how long stopping workers run", name)
		}
		for i, w := range in.Workers {
			if w.State == haproxy.StateCurrent && slices.ContainsFunc(in.Workers[i+1:], serves) {
				e.say(warning, "none within its grace time; after it, close that socket in the program that starts HAProxy",
					"worker %d is not proven to be stopping, although a younger worker is current: %s", w.PID, w.Why)
			}
			e.checkWorker(w)
		}
	}
}

func serves(w haproxy.Worker) bool { return w.State == haproxy.StateCurrent }

// checkWorker also checks the cache of a current worker: whether it can be purged once a
// reload has replaced the worker.
func (e *exam) checkWorker(w haproxy.Worker) {
	cache, err := w.CheckSSLCache(e.pids)
	if errors.Is(err, haproxy.ErrGone) {
		return
	}
	name := fmt.Sprintf("worker %d (%s)", w.PID, w.State)
	if w.State == haproxy.StateUnknown {
		e.say(warning, "", "%s: %s", name, w.Why)
	}
	switch {
	case err == nil:
		e.say(fine, "", "%s: its TLS session cache of %s is recognised (%s)", name,
			render.Size(cache.Before), cache.Layout)
	case haproxy.HasNoCache(err) && e.hasOneThread(w):
		e.say(warning, "set nbthread to 2 or more, or use HAProxy 2.9 or later",
			"%s: no TLS session cache was found. "+
				"Up to HAProxy 2.8 with one thread it is in private memory, and cannot be purged", name)
	case haproxy.HasNoCache(err):
		e.say(fine, "", "%s has no TLS session cache", name)
	case errors.Is(err, haproxy.ErrBusy):
		e.say(fine, "", "%s: its cache is in use and was not checked", name)
	default:
		e.say(warning, "see docs/compatibility.md; the other actions of the policy are still possible", "%s: its cache cannot be purged: %v", name, err)
	}
}

// hasOneThread reports whether a worker may have its cache in private memory: up to
// HAProxy 2.8 those with one thread do.
func (e *exam) hasOneThread(w haproxy.Worker) bool {
	threads, err := os.ReadDir(filepath.Join(e.procfs, strconv.Itoa(w.PID), "task"))
	return err == nil && len(threads) == 1
}
