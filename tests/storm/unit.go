package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
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

// systemdUnit limits the unit name to limit bytes without swap before it is started; 0
// leaves its limits alone. A master without a CLI (-S) is not asked who is in service.
func systemdUnit(name string, limit int64, noCLI bool) unit {
	list := func(ctx context.Context) (processes,
		error) {
		return showProc(ctx, "/run/haproxy-master.sock")
	}
	if noCLI {
		list = func(ctx context.Context) (processes, error) { return listUnit(ctx, name) }
	}
	return unit{
		start: func(ctx context.Context) error {
			if limit > 0 {
				_, err := systemctl(ctx, "set-property", "--runtime", name,
					"MemoryMax="+strconv.FormatInt(limit, 10), "MemorySwapMax=0")
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

// listUnit tells the processes of a unit apart by their age: no reload being under way,
// the youngest is the worker in service.
func listUnit(ctx context.Context, name string) (processes, error) {
	properties, err := systemctl(ctx, "show", "--property=MainPID", "--property=ControlGroup", name)
	if err != nil {
		return processes{}, err
	}
	var p processes
	var group string
	for line := range strings.Lines(properties) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "MainPID":
			p.Master, err = strconv.Atoi(value)
		case "ControlGroup":
			group = value
		}
	}
	if err != nil || p.Master == 0 || group == "" {
		return processes{}, fmt.Errorf("listing the processes of %s: it is not running (%q)", name,
			properties)
	}
	pids, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, "cgroup.procs"))
	if err != nil {
		return processes{}, fmt.Errorf("listing the processes of %s: %w", name, err)
	}
	var workers []process
	for text := range strings.FieldsSeq(string(pids)) {
		pid, err := strconv.Atoi(text)
		if err != nil || pid == p.Master {
			continue
		}
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
	return p, nil
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
