package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hapressure/haproxy"
)

func workersCommand() *cobra.Command {
	var w which
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "workers",
		Short: "List HAProxy's workers, what they hold, and which are stopping",
		Long: `List the masters of this host with their workers, the oldest generation first. It only looks: nothing is changed.

STATE is current, stopping, or unknown where it is not proven; PROOF says what it rests on. CACHE is what the TLS session cache
of a stopping worker holds, SHARED all its shared memory, PRIVATE its other memory: measured, and not as RSS tells, which leaves
the cache out up to HAProxy 3.0. HARD STOP is when HAProxy's own hard-stop-after would end the worker, by what the
configuration files say now.

Exit codes: 0 listed, 1 failed, 2 wrong usage.`,
		Example: "  hapressure workers\n  hapressure workers --unit haproxy --json",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := haproxy.NewScanner(procfs)
			found, _, err := w.find(cmd, s)
			if err != nil {
				return err
			}
			masters := describe(cmd.Context(), s, found)
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"masters": masters})
			}
			return printWorkers(cmd.OutOrStdout(), masters)
		},
	}
	w.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// masterRow and workerRow are what is printed; null in JSON is what is not known, and the field of the same name with _error says why.
type masterRow struct {
	PID           int         `json:"pid"`
	CLIError      string      `json:"cli_error,omitempty"`
	HardStopAfter *float64    `json:"hard_stop_after_seconds"`
	HardStopError string      `json:"hard_stop_after_error,omitempty"`
	Workers       []workerRow `json:"workers"`
}

type workerRow struct {
	PID         int      `json:"pid"`
	Generation  int      `json:"generation"`
	State       string   `json:"state"`
	Proof       string   `json:"proof"`
	Age         float64  `json:"age_seconds"`
	StoppingFor *float64 `json:"stopping_for_seconds"`
	HardStopIn  *float64 `json:"hard_stop_in_seconds"`
	Connections *int     `json:"connections"`
	ConnError   string   `json:"connections_error,omitempty"`
	Cache       *uint64  `json:"cache_bytes"`
	CacheError  string   `json:"cache_error,omitempty"`
	Private     *uint64  `json:"private_bytes"`
	Shared      *uint64  `json:"shared_bytes"`
	SizeError   string   `json:"size_error,omitempty"`
}

func describe(ctx context.Context, s *haproxy.Scanner, found []haproxy.Instance) []masterRow {
	masters := []masterRow{}
	for _, in := range found {
		m := masterRow{PID: in.Master.PID, CLIError: text(in.CLIErr)}
		limit, set, err := s.HardStopAfter(in)
		m.HardStopError = text(err)
		if set {
			m.HardStopAfter = new(limit.Seconds())
		}
		for _, w := range in.Workers {
			row := describeWorker(ctx, w)
			if set && w.State == haproxy.Stopping {
				row.HardStopIn = new(max(0, limit-w.StoppingFor).Seconds())
			}
			m.Workers = append(m.Workers, row)
		}
		masters = append(masters, m)
	}
	return masters
}

func describeWorker(ctx context.Context, w haproxy.Worker) workerRow {
	row := workerRow{PID: w.PID, Generation: w.Generation, State: w.State.String(), Proof: w.Why, Age: w.Age.Seconds()}
	if w.State == haproxy.Stopping {
		row.StoppingFor = new(w.StoppingFor.Seconds())
		if row.CacheError = text(w.CacheErr); w.CacheErr == nil {
			row.Cache = &w.Cache
		}
	}
	if w.State == haproxy.Stopping && w.SizeErr == nil {
		w.Shared, w.SizeErr = shared(w)
	}
	if row.SizeError = text(w.SizeErr); w.SizeErr == nil {
		row.Private, row.Shared = &w.Private, &w.Shared
	}
	if info, err := w.ShowInfo(ctx); err != nil {
		row.ConnError = err.Error()
	} else {
		row.Connections = &info.Connections
	}
	return row
}

// shared measures what a look in each tick leaves out.
func shared(w haproxy.Worker) (uint64, error) {
	p, err := haproxy.OpenProcess(procfs, w.ID)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	return p.SharedMemory()
}

func printWorkers(out io.Writer, masters []masterRow) error {
	if len(masters) == 0 {
		fmt.Fprintln(out, "No HAProxy in master-worker mode (-W, -Ws) is running here.")
	}
	for i, m := range masters {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "Master %d, ", m.PID)
		switch {
		case m.HardStopAfter != nil:
			fmt.Fprintf(out, "hard-stop-after %s", span(*m.HardStopAfter))
		case m.HardStopError != "":
			fmt.Fprintf(out, "hard-stop-after not known (%s)", m.HardStopError)
		default:
			fmt.Fprint(out, "no hard-stop-after")
		}
		if m.CLIError != "" {
			fmt.Fprintf(out, ", %s", m.CLIError)
		}
		fmt.Fprintln(out)
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "GEN\tPID\tSTATE\tAGE\tSTOPPING\tCONNS\tCACHE\tSHARED\tPRIVATE\tHARD STOP\tPROOF")
		for _, w := range m.Workers {
			fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", w.Generation, w.PID, w.State,
				span(w.Age), known(w.StoppingFor, span), known(w.Connections, strconv.Itoa), known(w.Cache, size), known(w.Shared, size),
				known(w.Private, size), known(w.HardStopIn, span), w.Proof)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func known[T any](v *T, show func(T) string) string {
	if v == nil {
		return "-"
	}
	return show(*v)
}

// span shows seconds in the two largest units: 3d4h, 5m10s.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
