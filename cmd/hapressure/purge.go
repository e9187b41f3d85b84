package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/progress"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// errRefused is the error of a command whose action is not safe.
var errRefused = errors.New("refused")

func purgeCommand() *cobra.Command {
	var instances *selector.Selector
	var dryRun, asJSON bool
	var screen *screenOptions
	cmd := &cobra.Command{
		Use:        "purge",
		SuggestFor: []string{"clear", "flush", "empty"},
		Short:      "Empty the TLS session caches of stopping workers, once and now",
		Long: `Empty the TLS session caches of workers that are proven to be stopping, in place,
and free the memory. No connection is closed and no other worker is changed. purge needs neither
a policy nor the daemon.

HELD is the time for which the worker's threads were frozen. --dry-run checks everything, but
neither writes nor freezes; it prints what a purge would free at most. If a worker has no TLS
session cache, there is nothing to purge.

A purge is refused if a retry would change nothing: the memory is not recognised, or the worker
is not proven to be stopping. A purge fails on an obstacle that may pass: a busy cache, a
tracer, another process that shares the memory.

Exit codes: 0 done, or nothing to do; 1 a purge failed; 2 wrong usage; 3 a purge was refused and
none failed.`,
		Example: "  hapressure purge --dry-run\n  hapressure purge --unit haproxy\n  hapressure " +
			"purge --pid 4711 --json",
		Args: usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			on, err := screen.of(cmd)
			if err != nil {
				return err
			}
			ctx, stop := host.UntilSignal(cmd.Context())
			defer stop()
			line := progress.Show(cmd.ErrOrStderr(), "finding workers")
			rows, err := purgeHere(ctx, *instances, dryRun, func(done, of int) {
				line.Doing("purging, %d of %s done", done, policy.Count(of, "worker"))
			})
			line.End()
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), status.Purges{Workers: rows})
			} else {
				err = render.Purges(cmd.OutOrStdout(), on, rows)
			}
			if ctx.Err() != nil {
				err = errors.Join(err, errors.New("interrupted: other workers are unchanged"))
			}
			return errors.Join(err, verdict(rows))
		},
	}
	instances = instanceFlags(cmd)
	screen = screenFlags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check and report, but write nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// purgeHere purges the chosen workers without a daemon. It calls progress before each
// worker.
func purgeHere(ctx context.Context, w selector.Selector, dryRun bool,
	progress func(done, of int)) ([]status.Purge, error) {
	s := haproxy.NewScanner(host.Procfs)
	found, pids, err := w.Find(ctx, s)
	if err != nil {
		return nil, err
	}
	chosen := stopping(found, w.PID)
	rows := []status.Purge{}
	for i, worker := range chosen {
		if ctx.Err() != nil {
			break
		}
		progress(i, len(chosen))
		rows = append(rows, controller.ManualPurge(ctx, s, worker, pids, dryRun))
	}
	return rows, nil
}

// stopping returns the workers to purge. A worker in another state is among them only if
// the user named its pid: its purge is refused.
func stopping(found []haproxy.Instance, pid int) []haproxy.Worker {
	var chosen []haproxy.Worker
	for _, in := range found {
		for _, w := range in.Workers {
			if w.State == haproxy.StateStopping || w.PID == pid {
				chosen = append(chosen, w)
			}
		}
	}
	return chosen
}

// verdict returns the error of the purges, from which the exit code follows.
func verdict(rows []status.Purge) error {
	count := map[string]int{}
	for _, r := range rows {
		count[r.Result]++
	}
	all := policy.Count(len(rows), "worker")
	switch {
	case count[status.Failed] > 0:
		return fmt.Errorf("%d of %s could not be purged", count[status.Failed], all)
	case count[status.Refused] > 0:
		return fmt.Errorf("%d of %s: %w", count[status.Refused], all, errRefused)
	}
	return nil
}
