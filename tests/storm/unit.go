package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// unit is how the storm starts and reloads HAProxy: by systemd in the guest, by hand in
// the tests.
type unit struct {
	start     func(context.Context) error
	reload    func(context.Context) error
	cgroup    func(context.Context) (string, error) // folder of its cgroup, "" if it has none of its own
	processes func(context.Context) (processes, error)
}

// lister returns how a unit's processes are listed.
func (s settings) lister() func(context.Context) (processes, error) {
	switch {
	case s.NoMaster:
		return func(ctx context.Context) (processes, error) { return listAlone(ctx, s.Unit) }
	case s.NoCLI:
		return func(ctx context.Context) (processes, error) { return listUnit(ctx, s.Unit) }
	}
	return func(ctx context.Context) (processes, error) {
		return showProc(ctx, "/run/haproxy-master.sock")
	}
}

// systemdUnit limits the unit name to limit bytes and to what swap says of swap before it
// is started; a limit of 0 leaves its limits alone.
func systemdUnit(name string, limit int64, swap string,
	list func(context.Context) (processes, error)) unit {
	return unit{
		start: func(ctx context.Context) error {
			if limit > 0 {
				_, err := systemctl(ctx, "set-property", "--runtime", name,
					"MemoryMax="+strconv.FormatInt(limit, 10), "MemorySwapMax="+swap)
				if err != nil {
					return err
				}
			}
			// restart, not start: a unit that runs already has a configuration and
			// counters that are not ours.
			_, err := systemctl(ctx, "restart", name)
			return err
		},
		reload: func(ctx context.Context) error {
			_, err := systemctl(ctx, "reload", name)
			return err
		},
		cgroup: func(ctx context.Context) (string, error) {
			path, err := systemctl(ctx, "show", "--property=ControlGroup", "--value", name)
			if err != nil {
				return "", err
			}
			if path == "" {
				return "", fmt.Errorf("finding the cgroup of %s: systemd names none", name)
			}
			return filepath.Join("/sys/fs/cgroup", path), nil
		},
		processes: list,
	}
}

// listUnit tells the workers of a unit's main process apart by their age: no reload being
// under way, the youngest is the worker in service.
func listUnit(ctx context.Context, name string) (processes, error) {
	main, pids, err := unitProcesses(ctx, name)
	if err != nil {
		return processes{}, err
	}
	p := byAge(slices.DeleteFunc(pids, func(pid int) bool { return pid == main }))
	p.Master = main
	return p, nil
}

// listAlone is listUnit of a HAProxy without a master. Instead of a master that may be
// lost it names pid 1, which is not.
func listAlone(ctx context.Context, name string) (processes, error) {
	_, pids, err := unitProcesses(ctx, name)
	if err != nil {
		return processes{}, err
	}
	p := byAge(pids)
	p.Master = 1
	return p, nil
}

// unitProcesses lists the processes of a unit that run HAProxy, and its main process.
func unitProcesses(ctx context.Context, name string) (main int, pids []int, err error) {
	properties, err := systemctl(ctx, "show", "--property=MainPID", "--property=ControlGroup", name)
	if err != nil {
		return 0, nil, err
	}
	var group string
	for line := range strings.Lines(properties) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "MainPID":
			main, err = strconv.Atoi(value)
		case "ControlGroup":
			group = value
		}
	}
	if err != nil || main == 0 || group == "" {
		return 0, nil, fmt.Errorf("listing the processes of %s: it is not running (%q)", name,
			properties)
	}
	pids, err = haproxiesBelow(filepath.Join("/sys/fs/cgroup", group))
	if err != nil {
		return 0, nil, fmt.Errorf("listing the processes of %s: %w", name, err)
	}
	return main, pids, nil
}

// haproxiesBelow lists the processes called haproxy of a cgroup and its descendants, such
// as a container's. One that ends meanwhile is left out.
func haproxiesBelow(dir string) (pids []int, err error) {
	err = filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(name) != "cgroup.procs" {
			return err
		}
		text, err := os.ReadFile(name)
		for field := range strings.FieldsSeq(string(text)) {
			comm, _ := os.ReadFile(filepath.Join("/proc", field, "comm"))
			if pid, err := strconv.Atoi(field); err == nil && string(comm) == "haproxy\n" {
				pids = append(pids, pid)
			}
		}
		return err
	})
	return pids, err
}

// byAge takes the youngest process for the one in service and the others for old ones.
func byAge(pids []int) (p processes) {
	var workers []process
	for _, pid := range pids {
		if w, err := lookUp(pid); err == nil {
			workers = append(workers, w)
		}
	}
	slices.SortFunc(workers, func(a, b process) int { return cmp.Compare(b.start, a.start) })
	for i, w := range workers {
		if i == 0 {
			p.Workers = append(p.Workers, w.pid)
		} else {
			p.OldWorkers = append(p.OldWorkers, w.pid)
		}
	}
	return p
}

// systemctl returns what it printed; its error holds the first line that it complained
// with.
func systemctl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		complaint, _, _ := strings.Cut(stderr.String(), "\n")
		return "", fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, complaint)
	}
	return strings.TrimSpace(stdout.String()), nil
}
