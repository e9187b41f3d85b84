// Package selector finds what users name: units, cgroups, masters and workers.
package selector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"hapressure/cgroup"
	"hapressure/cmd/hapressure/internal/host"
	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/haproxy"
)

// Selector chooses HAProxy instances of this host. Its zero value chooses all.
type Selector struct {
	Unit string // only those of this systemd unit; "" = any
	// PID chooses only the worker with this pid, or the workers of the master with it; 0
	// = any. A process of a HAProxy without a master is a worker.
	PID int
}

// Find returns the chosen instances, and all processes of the host whose memory maps can
// be read.
func (s Selector) Find(ctx context.Context, scanner *haproxy.Scanner) ([]haproxy.Instance, []int,
	error) {
	pids, err := allPIDs()
	if err != nil {
		return nil, nil, err
	}
	of, among := pids, pids
	switch {
	case s.PID != 0:
		of = []int{s.PID}
	case s.Unit != "":
		if of, err = unitPIDs(ctx, s.Unit); err != nil {
			return nil, nil, err
		}
		among = of // any user can run a program that is called haproxy and does not answer
	}
	found, err := Scan(ctx, scanner, among)
	if err != nil {
		return nil, nil, err
	}
	controller.TakeGenerations(controller.KnownWorkers(control.Dir), found)
	for i := range found {
		if !slices.Contains(of, found[i].Master.PID) {
			found[i].Workers = slices.DeleteFunc(found[i].Workers,
				func(w haproxy.Worker) bool { return !slices.Contains(of, w.PID) })
		}
	}
	found = slices.DeleteFunc(found, func(i haproxy.Instance) bool { return len(i.Workers) == 0 })
	if len(found) == 0 && s.PID != 0 {
		return nil, nil, noWorker(s.PID, scanner.LeftOut())
	}
	return found, slices.DeleteFunc(pids, func(pid int) bool {
		f, err := os.Open(filepath.Join(host.Procfs, strconv.Itoa(pid), "maps"))
		if err == nil {
			f.Close()
		}
		return err != nil // exited, or in another user namespace: it shares no memory with a worker
	}), nil
}

// noWorker is the error of a pid that is neither a worker's nor a master's.
func noWorker(pid int, leftOut []haproxy.LeftOut) error {
	why := "its program is not HAProxy"
	i := slices.IndexFunc(leftOut, func(p haproxy.LeftOut) bool { return p.PID == pid })
	if i >= 0 {
		why = leftOut[i].Why
	}
	return fmt.Errorf("pid %d is no worker or master of a HAProxy: %s; 'hapressure workers' "+
		"lists all of them", pid, why)
}

// Scan finds the HAProxy instances among processes.
func Scan(ctx context.Context, s *haproxy.Scanner, pids []int) ([]haproxy.Instance, error) {
	found, err := s.Scan(ctx, pids)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("inspecting processes of other users needs root: run this with sudo (%w)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("finding HAProxy: %w", err)
	}
	return found, nil
}

func allPIDs() ([]int, error) {
	entries, err := os.ReadDir(host.Procfs)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// unitPIDs lists the processes of a systemd unit.
func unitPIDs(ctx context.Context, name string) ([]int, error) {
	if !strings.Contains(name, ".") {
		name += ".service"
	}
	mount, err := cgroup.Mount()
	if err != nil {
		return nil, fmt.Errorf("finding the processes of %s: %w", name, err)
	}
	link, err := controller.Connect(ctx, host.Ways(mount))
	if err != nil {
		return nil, fmt.Errorf("asking systemd for %s: %w", name, err)
	}
	defer link.Close()
	at, err := link.ControlGroup(ctx, name)
	if err == nil && at == "" {
		err = errors.New("it is not running")
	}
	if err != nil {
		return nil, fmt.Errorf("asking systemd for %s: %w", name, err)
	}
	group, err := cgroup.Open(mount, at)
	if err != nil {
		return nil, fmt.Errorf("finding the processes of %s: %w", name, err)
	}
	defer group.Close()
	return group.Procs()
}
