package render

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"hapressure/controller/status"
	"hapressure/policy"
)

// The States of a worker that is proven to be stopping, and of one that serves.
const (
	Stopping = "stopping"
	Current  = "current"
)

// WorkersSummary counts workers by their state, and says what the stopping ones hold.
func WorkersSummary(masters []status.Master, held status.Memory) string {
	count := map[string]int{}
	conns, counted, least := 0, false, ""
	for _, m := range masters {
		for _, w := range m.Workers {
			if count[w.State]++; w.State != Stopping {
				continue
			}
			conns, counted = conns+or0(w.Connections), counted || w.Connections != nil
			if w.Cache == nil || w.Private == nil || w.Connections == nil {
				least = "at least "
			}
		}
	}
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
	}
	text := cmp.Or(strings.Join(parts, ", "), "none")
	if count[Stopping] > 0 {
		text += fmt.Sprintf(": %s%s", least, Held(held))
	}
	if counted {
		text += ", " + policy.Count(conns, "conn")
	}
	return text
}

// Held says what workers hold, by kind. Kinds that are seldom much are left out if they
// are less than 1 MiB.
func Held(m status.Memory) string {
	text := "caches " + Size(m.Cache) + ", private " + Size(m.Private)
	if m.Swapped >= 1<<20 {
		text += " (" + Size(m.Swapped) + " swapped out)"
	}
	if m.OtherShared >= 1<<20 {
		text += ", other shared " + Size(m.OtherShared)
	}
	if m.Kernel >= 1<<20 {
		text += ", kernel " + Size(m.Kernel)
	}
	return text
}

// WorkerTable returns a heading and a row for each worker.
func WorkerTable(workers []status.Worker) [][]string {
	rows := [][]string{{"GEN", "PID", "STATE", "AGE", "STOPPING", "CONNS", "CACHE", "PRIVATE",
		"HARD STOP"}}
	for _, w := range workers {
		rows = append(rows, []string{strconv.Itoa(w.Generation), strconv.Itoa(w.PID), w.State,
			Span(w.Age),
			Known(w.StoppingFor, Span), Known(w.Connections, strconv.Itoa), Known(w.Cache, Size),
			Known(w.Private, Size), Known(w.HardStopIn, Span)})
	}
	return rows
}

// Workers prints masters with their workers, and the processes that were left out.
func Workers(out io.Writer, masters []status.Master, leftOut []status.LeftOut) error {
	if len(masters) == 0 {
		fmt.Fprintln(out, "No HAProxy is running.")
	}
	for i, m := range masters {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s, %s\n", MasterName(m), masterText(m))
		rows := WorkerTable(m.Workers)
		texts, shared := []string{"PROOF"}, slices.Index(rows[0], "PRIVATE")
		rows[0] = slices.Insert(rows[0], shared, "SHARED")
		for j, w := range m.Workers {
			rows[j+1] = slices.Insert(rows[j+1], shared, Known(w.Shared, Size))
			texts = append(texts, w.Proof)
		}
		if err := TextTable(out, rows, texts); err != nil {
			return err
		}
		if err := details(out, m); err != nil {
			return err
		}
	}
	for _, p := range leftOut {
		fmt.Fprintf(out, "Left out: process %d, %s: %s\n", p.PID, Printable(p.Program),
			Printable(p.Why))
	}
	return nil
}

// MasterName names a master, or says that there is none.
func MasterName(m status.Master) string {
	if m.PID == 0 {
		return "No master"
	}
	return fmt.Sprintf("Master %d", m.PID)
}

func masterText(m status.Master) string {
	text := "no hard-stop-after"
	switch {
	case m.HardStopAfter != nil:
		text = "hard-stop-after " + Span(*m.HardStopAfter)
	case m.HardStopError != "":
		text = "hard-stop-after unknown (" + m.HardStopError + ")"
	}
	if m.CLIError != "" {
		text += ", " + m.CLIError
	}
	return Printable(text)
}
