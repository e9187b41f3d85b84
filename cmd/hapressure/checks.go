package main

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
	"hapressure/controller"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

var checks = []struct {
	name string
	look func(context.Context, *host)
}{
	{"host", checkHost}, {"policy", checkPolicy}, {"service", checkService}, {"rights", checkRights}, {"recordings", checkRecordings}, {"state", checkStates},
	{"targets", checkTargets}, {"memory", checkMemory}, {"haproxy", checkHAProxy},
}

// An old kernel shows by what rights find missing.
func checkHost(_ context.Context, h *host) {
	if h.mountErr != nil {
		h.say(problem, "boot with systemd.unified_cgroup_hierarchy=1", "%v", h.mountErr)
	}
	memory, err := cgroup.Host(h.procfs)
	swaps, _ := os.ReadFile(filepath.Join(h.procfs, "swaps"))
	if err != nil {
		h.say(problem, "", "%v", err)
	} else if strings.Contains(string(swaps), "zram") {
		h.say(warning, "", "some swap is zram: page-out frees less than it moves")
	} else {
		h.say(fine, "", "%s of memory, %s of swap", size(memory.Total), size(memory.SwapTotal))
	}
}

func checkPolicy(_ context.Context, h *host) {
	switch s := h.status.Policy; {
	case h.policyErr != nil:
		h.say(problem, "hapressure policy check", "%v", h.policyErr)
	case s.Rejected != "":
		h.say(problem, "systemctl reload hapressure", "%s is in force, for the files had mistakes: %s", s.Origin, s.Rejected)
	case h.status.Daemon != nil && s.SHA256 != controller.Digest(h.policy):
		h.say(warning, "systemctl reload hapressure", "%s is in force, which is not %s as it is now", s.Origin, origin(h.files))
	default:
		h.say(fine, "", "%s", origin(h.files))
	}
}

func checkService(_ context.Context, h *host) {
	switch p := h.service; {
	case len(p) == 0:
		h.say(fine, "", "no systemd can be asked, as in a container")
	case p["LoadState"] != "loaded":
		h.say(warning, "install the package", "hapressure.service is %s", p["LoadState"])
	case p["ActiveState"] != "active":
		h.say(problem, "systemctl start hapressure", "hapressure.service is %s", p["ActiveState"])
	case p["UnitFileState"] != "enabled":
		h.say(warning, "systemctl enable hapressure", "hapressure.service is %s: it does not come back after a reboot", p["UnitFileState"])
	}
	switch s := h.status.Systemd; {
	case s.By == "": // it is not asked
	case s.Why != "":
		h.say(warning, "systemctl start dbus.socket", "units are found by %s: %s; %s", s.By, s.Why, s.Lacks)
	default:
		h.say(fine, "", "units are found by %s", s.By)
	}
	d := h.status.Daemon
	switch {
	case h.statusErr != nil && h.mountErr == nil:
		h.say(warning, "", "%v", h.statusErr)
	case d == nil:
		h.say(warning, "systemctl start hapressure", "no daemon answers: nothing guards HAProxy")
	case d.Version != version:
		h.say(warning, "systemctl restart hapressure", "the daemon is hapressure %s, installed is %s", d.Version, version)
	case d.DryRun:
		h.say(warning, "take --dry-run away", "the daemon only tells what it would do")
	default:
		h.say(fine, "", "hapressure %s, up for %s", d.Version, since(h.status.At, d.Started))
	}
}

func checkRights(_ context.Context, h *host) {
	missing, whose := haproxy.MissingRights(h.procfs), "this command"
	if d := h.status.Daemon; d != nil && d.MissingRights != nil { // an older one does not tell
		missing, whose = d.MissingRights, "the daemon"
	} else if h.say(warning, "start the daemon", "no daemon tells what it may do in its sandbox"); os.Geteuid() != 0 {
		return // of itself, this command has none
	}
	for _, r := range missing {
		level := problem
		if len(r.Actions) == 0 || r.Where != "" {
			level = warning
		}
		h.say(level, r.Remedy, "%s", r)
	}
	if len(missing) == 0 {
		h.say(fine, "", "%s has all that actions need", whose)
	}
}

// recordingsOf returns where a daemon records: the service's default if no daemon says so.
func recordingsOf(d *status.Daemon) controller.Recordings {
	switch {
	case d == nil || d.Version != version:
		return controller.Recordings{Dir: "/var/lib/hapressure/recordings", PerTarget: recordingsMiB << 20}
	case d.Recordings == nil:
		return controller.Recordings{}
	}
	return controller.Recordings{Dir: d.Recordings.Dir, PerTarget: d.Recordings.BytesPerTarget}
}

func checkRecordings(_ context.Context, h *host) {
	dir := h.recordings.Dir
	if dir == "" {
		h.say(fine, "", "the daemon records nothing")
		return
	}
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	if free := st.Bavail * uint64(st.Bsize); err == nil && (free < 64<<20 || st.Flags&unix.ST_RDONLY != 0) {
		h.say(warning, "free some, or lower --recordings-size", "%s is full or read-only: %s are free", dir, size(free))
	} else if err == nil && os.Geteuid() == 0 && unix.Access(dir, unix.W_OK) != nil {
		h.say(warning, "see 'systemctl cat hapressure' for StateDirectory= and ProtectSystem=", "%s cannot be written", dir)
	}
	used, err := h.recordings.Usage()
	over := h.recordings.Exceeded(used, len(h.status.Targets))
	h.sayUsage(dir, used, err, over, h.recordings.Bounds())
}

func checkStates(_ context.Context, h *host) {
	used, err := controller.StateUsage(h.states)
	h.sayUsage(h.states, used, err, controller.StatesExceeded(used, len(h.status.Targets)), controller.StateBounds())
}

// sayUsage says how much the daemon keeps in a folder, and how much it may.
func (h *host) sayUsage(dir string, used controller.Usage, err error, over bool, bounds string) {
	about := ""
	if used.AtLeast {
		about = "at least "
	}
	kept := fmt.Sprintf("%s: %s%s in %d files of %d targets", dir, about, size(uint64(used.Bytes)), used.Files, used.Targets)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		h.say(fine, "", "%s: none were written yet", dir)
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		h.say(fine, "", "%s can only be read by root", dir)
	case err != nil:
		h.say(warning, "", "%s cannot be read: %v", dir, err)
	case over:
		h.say(warning, "see 'journalctl -t hapressure' for errors: the daemon removes the oldest every 5 minutes",
			"%s, more than the bound: %s", kept, bounds)
	default:
		h.say(fine, "", "%s; bound: %s", kept, bounds)
	}
}

func checkTargets(_ context.Context, h *host) {
	var covered []int // processes
	for _, t := range h.status.Targets {
		h.say(fine, "", "%s (cgroup %s)", t.Name, t.Cgroup)
		if group, err := cgroup.Open(h.mount, t.Cgroup); err == nil { // else it is told with its memory
			pids, _ := group.Procs()
			covered = append(covered, pids...)
			group.Close()
		}
	}
	if h.policy != nil && h.statusErr == nil {
		for _, t := range h.policy.Targets {
			name := nameOf(t)
			running := func(s status.Target) bool { hit, _ := path.Match(name, s.Name); return hit }
			if !t.Disabled && !slices.ContainsFunc(h.status.Targets, running) {
				h.say(warning, "name HAProxy's unit or cgroup in targets: of the policy", "%s of the policy does not run", name)
			}
		}
	}
	if h.foundErr != nil {
		h.say(warning, "", "%v", h.foundErr)
	}
	known := map[int]bool{}
	for _, in := range h.found {
		if !slices.Contains(covered, in.Master.PID) {
			h.say(warning, "name its unit or cgroup in targets: of the policy", "HAProxy with master %d is no target", in.Master.PID)
		}
		known[in.Master.PID] = true
		for _, w := range in.Workers {
			known[w.PID] = true
		}
	}
	for _, pid := range h.pids {
		if comm, _ := os.ReadFile(filepath.Join(h.procfs, strconv.Itoa(pid), "comm")); string(comm) == "haproxy\n" && !known[pid] {
			h.say(warning, "start it with -W or -Ws", "HAProxy process %d is not in master-worker mode", pid)
		}
	}
}

// nameOf is what the status calls a target, or the pattern of such names: a unit, or the path of a cgroup, which begins
// with a slash there and may not in the policy.
func nameOf(t policy.Target) string {
	if t.Cgroup != "" {
		return path.Clean("/" + t.Cgroup)
	}
	return t.Unit
}

func checkMemory(_ context.Context, h *host) {
	for _, t := range h.status.Targets {
		group, err := cgroup.Open(h.mount, t.Cgroup)
		if err != nil {
			h.say(problem, "", "%v", err)
			continue
		}
		if _, err := group.Pressure(); err != nil {
			h.say(problem, "boot with psi=1", "%s: %v", t.Name, err)
		}
		limits, err := group.Limits()
		if err != nil {
			h.say(problem, "systemctl set-property "+t.Name+" MemoryAccounting=yes", "%s: %v", t.Name, err)
		} else if len(limits) == 0 {
			h.say(warning, "systemctl set-property "+t.Name+" MemoryMax=...", "%s has no limit of its own, only the host's memory", t.Name)
		}
		least := uint64(math.MaxUint64)
		for _, l := range limits {
			h.say(fine, "", "%s of %s, %s used", l, size(l.Bytes), size(l.Usage))
			least = min(least, l.Bytes)
		}
		for _, m := range t.Masters {
			for _, w := range m.Workers {
				if w.State != haproxy.Current.String() || w.SizeError != "" {
					continue
				}
				// The configuration's check makes a cache as the new worker does: docs/operations.md.
				each, do := *w.Shared+*w.Private, "raise the limit to three times that, or lower tune.ssl.cachesize"
				if least/2 < each {
					h.say(problem, do, "%s: a worker is %s, and not two of them fit into %s: reloads fail", t.Name, size(each), size(least))
				} else if least/3 < each {
					h.say(warning, do, "%s: a worker is %s, and not three of them fit into %s: a reload is tight", t.Name, size(each), size(least))
				}
			}
		}
		group.Close()
	}
}

func checkHAProxy(_ context.Context, h *host) {
	for _, in := range h.found {
		name := fmt.Sprintf("master %d", in.Master.PID)
		if in.CLIErr != nil {
			h.say(warning, "", "%s: a worker cannot be asked: %v", name, in.CLIErr)
		}
		switch limit, set, err := haproxy.HardStopAfter(h.procfs, in); {
		case err != nil:
			h.say(warning, "", "%s: %v", name, err)
		case set:
			h.say(fine, "", "%s has hard-stop-after %s", name, span(limit.Seconds()))
		default:
			h.say(fine, "", "%s has no hard-stop-after: only the policy bounds how long old workers stay", name)
		}
		for i, w := range in.Workers {
			if w.State == haproxy.Current && slices.ContainsFunc(in.Workers[i+1:], serves) {
				h.say(warning, "nothing, if its grace time is not over; otherwise close that socket in what starts HAProxy",
					"worker %d is not taken for stopping, though a younger worker serves: %s", w.PID, w.Why)
			}
			h.checkWorker(w)
		}
	}
}

func serves(w haproxy.Worker) bool { return w.State == haproxy.Current }

// checkWorker looks at the cache of a current worker as well: it tells what can be done about it once a reload has replaced the worker.
func (h *host) checkWorker(w haproxy.Worker) {
	p, err := haproxy.OpenProcess(h.procfs, w.ID)
	if err != nil {
		return // it has ended since
	}
	defer p.Close()
	name := fmt.Sprintf("worker %d (%s)", w.PID, w.State)
	if w.State == haproxy.Unknown {
		h.say(warning, "", "%s: %s", name, w.Why)
	}
	cache, err := p.CheckSSLCache(h.pids)
	switch {
	case err == nil:
		h.say(fine, "", "%s: its TLS session cache of %s is known (%s)", name, size(cache.Before), cache.Layout)
	case haproxy.HasNoCache(err) && h.hasOneThread(w):
		h.say(warning, "set nbthread to 2 or more, or use HAProxy 2.9 or later", "%s: no TLS session cache was found. "+
			"It may be private memory, as up to HAProxy 2.8 with one thread, and is not purged then", name)
	case haproxy.HasNoCache(err):
		h.say(fine, "", "%s has no TLS session cache", name)
	case errors.Is(err, haproxy.ErrBusy), errors.Is(err, haproxy.ErrUnstable), errors.Is(err, haproxy.ErrGone):
		h.say(fine, "", "%s: its cache is in use and was not looked at", name)
	default:
		h.say(warning, "see Limits in README.md: the policy goes on to what else it has", "%s: its cache cannot be purged: %v", name, err)
	}
}

// hasOneThread reports whether a worker may have a cache in private memory, as up to HAProxy 2.8 those with one thread have.
func (h *host) hasOneThread(w haproxy.Worker) bool {
	threads, err := os.ReadDir(filepath.Join(h.procfs, strconv.Itoa(w.PID), "task"))
	return err == nil && len(threads) == 1
}
