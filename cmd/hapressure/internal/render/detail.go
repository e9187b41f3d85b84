package render

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"hapressure/controller/status"
	"hapressure/policy"
)

// details prints what makes up the memory of the stopping workers of a master, and sums.
// It returns the columns that gave way.
func details(out io.Writer, s Screen, m status.Master) (yielded []string, err error) {
	t := Table{Columns: []Column{{Title: "GEN"}, {Title: "PID"}, {Title: "CACHE"},
		{Title: "HTTP CACHES", Yields: 2}, {Title: "OTHER SHARED", Yields: 5},
		{Title: "PRIVATE"}, {Title: "SWAPPED", Yields: 1}, {Title: "HUGE PAGES", Yields: 3},
		{Title: "POOLS"}, {Title: "USED", Yields: 6}, {Title: "KERNEL", Yields: 4},
		{Title: "FILES", Yields: 7}}}
	var sums [9]uint64
	files := 0
	for _, w := range m.Workers {
		d := w.Detail
		if d == nil {
			continue
		}
		row := Cells(strconv.Itoa(w.Generation), strconv.Itoa(w.PID))
		for i, size := range []*uint64{w.Cache, d.HTTPCaches, otherShared(w), w.Private, w.Swapped,
			d.HugePages, d.PoolsHeld, d.PoolsUsed, w.Kernel} {
			row = append(row, Cells(Known(size, Size))...)
			sums[i] += or0(size)
		}
		t.Rows = append(t.Rows, append(row, Cells(Known(w.OpenFiles, strconv.Itoa))...))
		files += or0(w.OpenFiles)
	}
	if len(t.Rows) == 0 {
		return nil, nil
	}
	sum := Cells("", "sum")
	for _, n := range sums {
		sum = append(sum, Cells(Size(n))...)
	}
	t.Rows = append(t.Rows, append(sum, Cells(strconv.Itoa(files))...))
	fmt.Fprintln(out)
	if yielded, err = t.Print(out, s); err != nil {
		return nil, err
	}
	for _, text := range contents(m.Workers) {
		fmt.Fprintln(out, Wrap(text, s.Width, 2))
	}
	return yielded, nil
}

// otherShared returns the shared memory of a worker that is no recognised cache, nil if
// it is unknown.
func otherShared(w status.Worker) *uint64 {
	if w.Shared == nil {
		return nil
	}
	return new(*w.Shared - min(*w.Shared, or0(w.Cache)+or0(w.Detail.HTTPCaches)))
}

// contents says what the configurations of stopping workers hold. Generations that hold
// the same have one line.
func contents(workers []status.Worker) []string {
	var all []status.Contents // in order of generation
	of := map[status.Contents][]int{}
	var unknown []string
	for _, w := range workers {
		d := w.Detail
		if d == nil {
			continue
		}
		if c := d.Contents; c != nil {
			if of[*c] == nil {
				all = append(all, *c)
			}
			of[*c] = append(of[*c], w.Generation)
		}
		for what, why := range map[string]string{"configuration and pools": d.QuestionsError,
			"HTTP caches and huge pages": d.MemoryError} {
			if why != "" {
				unknown = append(unknown,
					fmt.Sprintf("Generation %d: %s unknown: %s", w.Generation, what, why))
			}
		}
	}
	var lines []string
	for _, c := range all {
		lines = append(lines, generations(of[c])+" "+contentsText(c))
	}
	slices.Sort(unknown)
	return append(lines, unknown...)
}

// generations names generations that hold the same.
func generations(g []int) string {
	if len(g) == 1 {
		return fmt.Sprintf("Generation %d holds", g[0])
	}
	var runs []string
	for from := 0; from < len(g); {
		to := from
		for to+1 < len(g) && g[to+1] == g[to]+1 {
			to++
		}
		run := strconv.Itoa(g[from])
		if to > from {
			run += "-" + strconv.Itoa(g[to])
		}
		runs = append(runs, run)
		from = to + 1
	}
	return fmt.Sprintf("Each of the %d generations %s holds", len(g), strings.Join(runs, ", "))
}

func contentsText(c status.Contents) string {
	text := fmt.Sprintf("%s in maps, %d in ACLs", policy.Count(c.MapEntries, "entry"),
		c.ACLEntries)
	if c.Largest != "" {
		text += fmt.Sprintf(" (%d in %s)", c.LargestEntries, c.Largest)
	}
	return text + fmt.Sprintf("; %s; %s in %s",
		policy.Count(c.Certificates, "certificate"),
		policy.Count(c.Servers, "server"), policy.Count(c.Backends, "backend"))
}
