package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hapressure/haproxy"
)

func purgeCommand() *cobra.Command {
	var w which
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "purge",
		Short: "Empty the TLS session caches of stopping workers, once and now",
		Long: `Empty the TLS session caches of workers that are proven to be stopping, in place, and give the memory back. No connection is
lost, and no other worker is touched. It needs no policy, and the service need not run.

HELD is how long the worker's threads stood still. --dry-run checks everything, writes nothing and holds nobody.

Exit codes: 0 done, or there was nothing to do; 1 something failed; 2 wrong usage; 3 something was refused, and nothing failed.`,
		Example: "  hapressure purge --dry-run\n  hapressure purge --unit haproxy\n  hapressure purge --pid 4711 --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := haproxy.NewScanner(procfs)
			found, pids, err := w.find(cmd, s)
			if err != nil {
				return err
			}
			p := purger{s: s, pids: pids, dryRun: dryRun, named: w.pid}
			if !asJSON {
				p.progress = progressTo(os.Stderr)
			}
			rows := p.all(cmd.Context(), found)
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), map[string]any{"workers": rows})
			} else {
				err = printPurges(cmd.OutOrStdout(), rows)
			}
			return errors.Join(err, verdict(rows))
		},
	}
	w.flags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "look and tell, but write nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// The results of purgeRow.
const (
	purged     = "purged"
	wouldPurge = "would purge"
	refused    = "refused"
	failed     = "failed"
)

type purgeRow struct {
	PID        int     `json:"pid"`
	Generation int     `json:"generation"`
	Result     string  `json:"result"`
	Reason     string  `json:"reason,omitempty"` // why it was refused or failed
	Layout     string  `json:"layout,omitempty"` // the releases whose layout the cache has
	Before     uint64  `json:"before_bytes"`
	After      uint64  `json:"after_bytes"`
	Held       float64 `json:"held_microseconds"`
	Tries      int     `json:"tries"`
}

type purger struct {
	s        *haproxy.Scanner
	pids     []int // of the host
	dryRun   bool
	named    int // the pid that was asked for; 0 = none
	progress func(done, of int)
}

// all purges the stopping workers. Another one is only spoken of if it was named.
func (p *purger) all(ctx context.Context, found []haproxy.Instance) []purgeRow {
	var chosen []haproxy.Worker
	for _, in := range found {
		for _, w := range in.Workers {
			if w.State == haproxy.Stopping || w.PID == p.named {
				chosen = append(chosen, w)
			}
		}
	}
	rows := []purgeRow{}
	for i, w := range chosen {
		if p.progress != nil {
			p.progress(i, len(chosen))
		}
		rows = append(rows, p.one(ctx, w))
	}
	return rows
}

func (p *purger) one(ctx context.Context, w haproxy.Worker) purgeRow {
	row := purgeRow{PID: w.PID, Generation: w.Generation}
	done, err := p.purge(ctx, w)
	var r *haproxy.Refusal
	switch {
	case err == nil && p.dryRun:
		row.Result = wouldPurge
	case err == nil:
		row.Result = purged
	case errors.As(err, &r), errors.Is(err, haproxy.ErrNotStopping):
		row.Result = refused
	default:
		row.Result = failed
	}
	row.Reason, row.Layout, row.Before, row.After, row.Tries = text(err), done.Layout, done.Before, done.After, done.Tries
	row.Held = float64(done.Held.Nanoseconds()) / 1000
	return row
}

func (p *purger) purge(ctx context.Context, w haproxy.Worker) (haproxy.Purged, error) {
	proc, err := p.s.Recheck(w)
	if err != nil {
		return haproxy.Purged{}, err
	}
	defer proc.Close()
	if p.dryRun {
		return proc.CheckSSLCache(p.pids)
	}
	return proc.PurgeSSLCache(ctx, p.pids)
}

// progressTo shows how far a long run is, on a terminal only.
func progressTo(f *os.File) func(done, of int) {
	if fi, err := f.Stat(); err != nil || fi.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return func(done, of int) { fmt.Fprintf(f, "\r%d of %d workers\r", done, of) }
}

func printPurges(out io.Writer, rows []purgeRow) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(out, "No worker is proven to be stopping: there is nothing to purge. 'hapressure workers' shows all there are.")
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GEN\tPID\tRESULT\tBEFORE\tAFTER\tHELD\tLAYOUT\tREASON")
	var freed uint64
	for _, r := range rows {
		layout := r.Layout
		if layout == "" {
			layout = "-"
		}
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%.0f µs\t%s\t%s\n", r.Generation, r.PID, r.Result, size(r.Before), size(r.After), r.Held, layout, r.Reason)
		freed += r.Before - min(r.Before, r.After)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s freed\n", size(freed))
	return err
}

// verdict is the command's exit code.
func verdict(rows []purgeRow) error {
	count := map[string]int{}
	for _, r := range rows {
		count[r.Result]++
	}
	switch {
	case count[failed] > 0:
		return fmt.Errorf("%d of %d workers could not be purged", count[failed], len(rows))
	case count[refused] > 0:
		return fmt.Errorf("%d of %d workers: %w", count[refused], len(rows), errRefused)
	}
	return nil
}
