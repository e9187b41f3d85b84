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

// states are the levels of the states of workers.
var states = map[string]Level{"current": Good, Stopping: Warning, "unknown": Problem}

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

// workerTable has a row for each worker.
func workerTable(workers []status.Worker) Table {
	t := Table{Columns: []Column{{Title: "GEN"}, {Title: "PID"}, {Title: "STATE", Text: true},
		{Title: "AGE"}, {Title: "STOPPING", Yields: 1}, {Title: "CONNS"}, {Title: "CACHE"},
		{Title: "SHARED", Yields: 3}, {Title: "PRIVATE"}, {Title: "HARD STOP", Yields: 2},
		{Title: "PROOF", Text: true, Yields: 4}}}
	for _, w := range workers {
		row := Cells(strconv.Itoa(w.Generation), strconv.Itoa(w.PID), w.State, Span(w.Age),
			Known(w.StoppingFor, Span), Known(w.Connections, strconv.Itoa), Known(w.Cache, Size),
			Known(w.Shared, Size), Known(w.Private, Size), Known(w.HardStopIn, Span), w.Proof)
		row[2].Level = states[w.State]
		t.Rows = append(t.Rows, row)
	}
	return t
}

// Workers prints a summary, masters with their workers, and the processes that were left
// out. held is what the stopping workers hold.
func Workers(out io.Writer, s Screen, masters []status.Master, leftOut []status.LeftOut,
	held status.Memory) error {
	note := func(l Level, text string) error {
		_, err := fmt.Fprintln(out, s.Paint(l, Wrap(text, s.Width, 2)))
		return err
	}
	if err := note(workersSummary(masters, held)); err != nil {
		return err
	}
	var cut []string
	for _, m := range masters {
		fmt.Fprintln(out)
		note(Plain, MasterName(m)+", "+masterText(m))
		yielded, err := workerTable(m.Workers).Print(out, s)
		if err != nil {
			return err
		}
		cut = append(cut, yielded...)
		for _, w := range m.Workers {
			if w.State == "unknown" && slices.Contains(yielded, "PROOF") {
				note(Plain, fmt.Sprintf("%d is unknown: %s", w.PID, w.Proof))
			}
		}
		yielded, err = details(out, s, m)
		if err != nil {
			return err
		}
		cut = append(cut, yielded...)
	}
	if len(leftOut) > 0 {
		fmt.Fprintln(out)
	}
	for _, p := range leftOut {
		note(Plain, fmt.Sprintf("Left out: process %d, %s: %s", p.PID, p.Program, p.Why))
	}
	return cutNote(out, s, cut)
}

// cutNote prints how to see columns that gave way.
func cutNote(out io.Writer, s Screen, cut []string) error {
	slices.Sort(cut)
	if cut = slices.Compact(cut); len(cut) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(out, "\n%s\n", s.Paint(Minor, Wrap("Cut or left out: "+
		strings.Join(cut, ", ")+". --full shows all.", s.Width, 2)))
	return err
}

func workersSummary(masters []status.Master, held status.Memory) (Level, string) {
	if len(masters) == 0 {
		return Warning, "No HAProxy is running."
	}
	level := Good
	for _, m := range masters {
		for _, w := range m.Workers {
			level = max(level, states[w.State])
		}
	}
	haproxies := "1 HAProxy"
	if len(masters) > 1 {
		haproxies = fmt.Sprintf("%d HAProxies", len(masters))
	}
	return level, fmt.Sprintf("%s, %s", haproxies, WorkersSummary(masters, held))
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
