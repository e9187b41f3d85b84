package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"hapressure/cgroup"
	"hapressure/controller"
	"hapressure/haproxy"
)

const procfs = "/proc"

// which are the flags that choose HAProxy instances on this host.
type which struct {
	unit string
	pid  int // 0 = not given
	all  bool
}

func (w *which) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&w.unit, "unit", "u", "", "only HAProxy of this systemd unit")
	cmd.Flags().IntVar(&w.pid, "pid", 0, "only the worker with this pid, or the workers of the master with it")
	cmd.Flags().BoolVar(&w.all, "all", false, "all HAProxy on this host, as without any of these flags")
}

// check returns what is wrong with the flags. A value that chooses nothing is not taken for a choice of all.
func (w *which) check(cmd *cobra.Command) error {
	pid, all := cmd.Flags().Changed("pid"), cmd.Flags().Changed("all")
	switch {
	case pid && w.pid <= 0:
		return usageError{fmt.Errorf("--pid %d is not the number of a process", w.pid)}
	case all && !w.all:
		return usageError{errors.New("--all=false chooses nothing: give --unit, --pid or --all")}
	case w.unit != "" && pid, all && (w.unit != "" || pid):
		return usageError{errors.New("give only one of --unit, --pid and --all")}
	}
	return nil
}

// find returns the chosen workers, and all processes of the host whose memory maps can be read.
func (w *which) find(ctx context.Context, s *haproxy.Scanner) ([]haproxy.Instance, []int, error) {
	pids, err := allPIDs()
	if err != nil {
		return nil, nil, err
	}
	of, among := pids, pids
	switch {
	case w.pid != 0:
		of = []int{w.pid}
	case w.unit != "":
		if of, err = unitPIDs(ctx, w.unit); err != nil {
			return nil, nil, err
		}
		among = of // anybody can run something that is called haproxy and keeps us waiting
	}
	found, err := scan(ctx, s, among)
	if err != nil {
		return nil, nil, err
	}
	for i := range found {
		if !slices.Contains(of, found[i].Master.PID) {
			found[i].Workers = slices.DeleteFunc(found[i].Workers, func(w haproxy.Worker) bool { return !slices.Contains(of, w.PID) })
		}
	}
	found = slices.DeleteFunc(found, func(i haproxy.Instance) bool { return len(i.Workers) == 0 })
	if len(found) == 0 && w.pid != 0 {
		return nil, nil, fmt.Errorf("pid %d is no worker or master of a HAProxy in master-worker mode (-W, -Ws): "+
			"'hapressure workers' lists those there are", w.pid)
	}
	return found, slices.DeleteFunc(pids, func(pid int) bool {
		f, err := os.Open(filepath.Join(procfs, strconv.Itoa(pid), "maps"))
		if err == nil {
			f.Close()
		}
		return err != nil // gone, or of a user namespace that we are not in: a worker's memory is not shared with it
	}), nil
}

func scan(ctx context.Context, s *haproxy.Scanner, pids []int) ([]haproxy.Instance, error) {
	found, err := s.Scan(ctx, pids)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("looking at other users' processes needs root: run this with sudo (%w)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for HAProxy: %w", err)
	}
	return found, nil
}

func allPIDs() ([]int, error) {
	entries, err := os.ReadDir(procfs)
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
		return nil, fmt.Errorf("looking for the processes of %s: %w", name, err)
	}
	link, err := controller.Connect(ctx, waysToSystemd(mount))
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
		return nil, fmt.Errorf("looking for the processes of %s: %w", name, err)
	}
	defer group.Close()
	return group.Procs()
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// size shows bytes in the unit that people read best.
func size(b uint64) string {
	switch {
	case b >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(b)/(1<<30))
	case b >= 10<<20:
		return fmt.Sprintf("%.0f MiB", float64(b)/(1<<20))
	}
	return fmt.Sprintf("%.0f KiB", float64(b)/(1<<10))
}
