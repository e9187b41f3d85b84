package top

import (
	"context"
	"fmt"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
)

// beginPurge checks whether the chosen worker can be purged. It asks for confirmation,
// unless it is a dry run, which do does at once.
func (m *Model) beginPurge(dryRun bool) (do func(context.Context) string) {
	if m.busy {
		return nil
	}
	w, ok := m.chosen()
	switch {
	case m.recording != nil:
		m.note = "This is a recording: no worker can be changed."
		return nil
	case !ok:
		m.note = "There is no worker to purge."
		return nil
	case w.State != render.Stopping:
		m.note = fmt.Sprintf("Worker %d is %s: only workers that are stopping are purged.", w.PID,
			w.State)
		return nil
	}
	target := m.target
	do = func(ctx context.Context) string {
		done, err := m.Purge(ctx, target, w.PID, dryRun)
		if err != nil {
			return fmt.Sprintf("Worker %d: %v", w.PID, err)
		}
		return purgeText(done)
	}
	if dryRun {
		m.note, m.busy = "Checking...", true
		return do
	}
	m.asking = do
	m.note = fmt.Sprintf("Purge the TLS session cache of worker %d, generation %d, %s? y/n", w.PID,
		w.Generation, render.Known(w.Cache, render.Size))
	return nil
}

// confirm does what was asked for if the answer is y.
func (m *Model) confirm(answer string) (do func(context.Context) string) {
	if m.note = "Not purged."; answer == "y" {
		do, m.note, m.busy = m.asking, "Purging...", true
	}
	m.asking = nil
	return do
}

func purgeText(p status.Purge) string {
	switch p.Result {
	case status.Purged:
		return fmt.Sprintf("Worker %d: freed %s; its threads were frozen for %.0f µs.", p.PID,
			render.Size(p.Before-min(p.Before, p.After)), p.Held)
	case status.WouldPurge:
		return fmt.Sprintf("Worker %d: a purge would free up to %s (layout of HAProxy %s).", p.PID,
			render.Size(p.Before), p.Layout)
	}
	return fmt.Sprintf("Worker %d: %s: %s", p.PID, p.Result, p.Reason)
}
