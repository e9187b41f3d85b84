package top

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
)

// The size of the details beside the table of workers.
const (
	detailWidth  = 78
	detailHeight = 11 // at least, with all kinds of memory
)

// detail draws what is known of one worker: proof, deadlines, connections, kinds of
// memory, and the last actions on it.
func (m *Model) detail(c *canvas, t status.Target, w status.Worker) {
	c.title(fmt.Sprintf("worker %d, generation %d, %s", w.PID, w.Generation, w.State))
	c.label("proof", w.Proof, max(1, c.height/6))
	c.label("age", ages(w), 1)
	c.label("hard stop", deadlines(t, w), 2)
	c.label("clients", connections(w), 2)
	for _, k := range kindsOf(w) {
		m.kind(c, k, held(w))
	}
	c.label("unknown", strings.Join(slices.DeleteFunc([]string{w.CacheError, w.SizeError},
		func(why string) bool { return why == "" }), "; "), 2)
	for _, a := range slices.Backward(t.Actions) {
		if a.PID == w.PID && c.rest() > 0 {
			c.label("action", fmt.Sprintf("%s ago, tier %s: %s",
				render.Since(m.status.At, a.At), a.Tier, render.Action(a)), 1)
		}
	}
}

func ages(w status.Worker) string {
	text := "started " + render.Span(w.Age) + " ago"
	if w.StoppingFor != nil {
		text += ", stopping for " + render.Span(*w.StoppingFor)
	}
	if w.ReplacedBy != 0 {
		text += fmt.Sprintf(", replaced by %d", w.ReplacedBy)
	}
	return text
}

// deadlines returns when a worker is drained or ended, and whose deadline that is.
func deadlines(t status.Target, w status.Worker) string {
	if w.StoppingFor == nil {
		return ""
	}
	var parts []string
	add := func(limit *float64, whose string) {
		if limit == nil {
			return
		}
		when := "due"
		if left := *limit - *w.StoppingFor; left > 0 {
			when = "in " + render.Span(left)
		}
		parts = append(parts, fmt.Sprintf("%s by %s of %s", when, whose, render.Span(*limit)))
	}
	add(t.HardStopAfter, "the policy's limit")
	for _, master := range t.Masters {
		if slices.ContainsFunc(master.Workers,
			func(o status.Worker) bool { return o.PID == w.PID }) {
			add(master.HardStopAfter, "HAProxy's hard-stop-after")
		}
	}
	if len(parts) == 0 {
		return "none is known: it ends with its last connection"
	}
	return strings.Join(parts, "; ")
}

func connections(w status.Worker) string {
	text := render.Known(w.Connections, strconv.Itoa)
	switch {
	case w.State == render.Current:
		text = "not asked while it serves"
	case w.ConnError != "":
		text = "unknown: " + w.ConnError
	}
	if w.OpenFiles != nil {
		text += fmt.Sprintf("; %d open descriptors", *w.OpenFiles)
	}
	return text
}

// kind is one kind of memory of a worker.
type kind struct {
	name string
	size uint64
	note string
}

// kindsOf returns the kinds of memory of a worker that are known.
func kindsOf(w status.Worker) []kind {
	var kinds []kind
	add := func(name string, size *uint64, note string) {
		if size != nil {
			kinds = append(kinds, kind{name, *size, note})
		}
	}
	add("cache", w.Cache, "TLS sessions")
	if w.Shared != nil && w.Cache != nil {
		add("shared", new(*w.Shared-min(*w.Shared, *w.Cache)), "other shared memory")
	} else {
		add("shared", w.Shared, "with the cache of TLS sessions")
	}
	note := "its own"
	if w.Swapped != nil && *w.Swapped > 0 {
		note = "of it " + render.Size(*w.Swapped) + " swapped out"
	}
	add("private", w.Private, note)
	add("kernel", w.Kernel, "page tables, descriptors")
	add("files", w.MappedFiles, "mapped: shared with others, not counted")
	return kinds
}

// held returns the greatest of the kinds of memory of a worker.
func held(w status.Worker) uint64 {
	most := uint64(1)
	for _, k := range kindsOf(w) {
		most = max(most, k.size)
	}
	return most
}

// kind writes a kind of memory with a bar of its share.
func (m *Model) kind(c *canvas, k kind, most uint64) {
	width := max(5, min(30, c.width-gutter-45))
	filled := int(float64(width) * float64(k.size) / float64(most))
	c.put(0, c.y, dim, k.name)
	c.put(gutter, c.y, plain, fmt.Sprintf("%9s %s  %s", render.Size(k.size),
		strings.Repeat(string(c.bar), filled)+strings.Repeat(" ", width-filled), k.note))
	c.y++
}
