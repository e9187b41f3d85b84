package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hapressure/controller"
	"hapressure/controller/status"
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
			if err := w.check(cmd); err != nil {
				return err
			}
			s := haproxy.NewScanner(procfs)
			found, _, err := w.find(cmd.Context(), s)
			if err != nil {
				return err
			}
			masters := controller.DescribeMasters(cmd.Context(), procfs, found, nil)
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

func printWorkers(out io.Writer, masters []status.Master) error {
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
			fmt.Fprintf(out, "hard-stop-after not known (%s)", printable(m.HardStopError))
		default:
			fmt.Fprint(out, "no hard-stop-after")
		}
		if m.CLIError != "" {
			fmt.Fprintf(out, ", %s", printable(m.CLIError))
		}
		fmt.Fprintln(out)
		if err := printTable(out, m.Workers); err != nil {
			return err
		}
	}
	return nil
}

func printTable(out io.Writer, workers []status.Worker) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GEN\tPID\tSTATE\tAGE\tSTOPPING\tCONNS\tCACHE\tSHARED\tPRIVATE\tHARD STOP\tPROOF")
	for _, w := range workers {
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", w.Generation, w.PID, w.State,
			span(w.Age), known(w.StoppingFor, span), known(w.Connections, strconv.Itoa), known(w.Cache, size), known(w.Shared, size),
			known(w.Private, size), known(w.HardStopIn, span), printable(w.Proof))
	}
	return t.Flush()
}

func known[T any](v *T, show func(T) string) string {
	if v == nil {
		return "-"
	}
	return show(*v)
}

// span shows seconds in the two largest units: 3d4h, 5m10s, 5m.
func span(seconds float64) string {
	n := int(min(seconds, 1e9)) // a limit that is never reached is far enough away in 30 years
	for _, unit := range []struct {
		of, next      int
		name, smaller string
	}{{86400, 3600, "d", "h"}, {3600, 60, "h", "m"}, {60, 1, "m", "s"}} {
		if n < unit.of {
			continue
		}
		text := strconv.Itoa(n/unit.of) + unit.name
		if rest := n % unit.of / unit.next; rest > 0 {
			text += strconv.Itoa(rest) + unit.smaller
		}
		return text
	}
	return strconv.Itoa(n) + "s"
}
