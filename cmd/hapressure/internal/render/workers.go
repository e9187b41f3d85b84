package render

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"hapressure/controller/status"
	"hapressure/haproxy"
)

// WorkersSummary sums up.
func WorkersSummary(masters []status.Master) string {
	count := map[string]int{}
	var cache, private uint64
	conns, least := 0, ""
	for _, m := range masters {
		for _, w := range m.Workers {
			if count[w.State]++; w.State == haproxy.Stopping.String() {
				cache, private, conns = cache+or0(w.Cache), private+or0(w.Private), conns+or0(w.Connections)
				if w.Cache == nil || w.Private == nil || w.Connections == nil {
					least = "at least "
				}
			}
		}
	}
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
	}
	text := cmp.Or(strings.Join(parts, ", "), "none")
	if count[haproxy.Stopping.String()] > 0 {
		text += fmt.Sprintf(": %scaches %s, private %s, %d conns", least, Size(cache), Size(private), conns)
	}
	return text
}

func WorkerTable(workers []status.Worker) [][]string {
	rows := [][]string{{"GEN", "PID", "STATE", "AGE", "STOPPING", "CONNS", "CACHE", "PRIVATE", "HARD STOP"}}
	for _, w := range workers {
		rows = append(rows, []string{strconv.Itoa(w.Generation), strconv.Itoa(w.PID), w.State, Span(w.Age), Known(w.StoppingFor, Span),
			Known(w.Connections, strconv.Itoa), Known(w.Cache, Size), Known(w.Private, Size), Known(w.HardStopIn, Span)})
	}
	return rows
}

func Workers(out io.Writer, masters []status.Master) error {
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
			fmt.Fprintf(out, "hard-stop-after %s", Span(*m.HardStopAfter))
		case m.HardStopError != "":
			fmt.Fprintf(out, "hard-stop-after not known (%s)", Printable(m.HardStopError))
		default:
			fmt.Fprint(out, "no hard-stop-after")
		}
		if m.CLIError != "" {
			fmt.Fprintf(out, ", %s", Printable(m.CLIError))
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
			Span(w.Age), Known(w.StoppingFor, Span), Known(w.Connections, strconv.Itoa), Known(w.Cache, Size), Known(w.Shared, Size),
			Known(w.Private, Size), Known(w.HardStopIn, Span), Printable(w.Proof))
	}
	return t.Flush()
}
