package policy

// planner finds what is due for one tier in one step.
type planner struct {
	p    *Policy
	st   *State
	s    *Sample
	d    *Decision
	tier int // from 0
	// forRoom: a client waits for room. Otherwise the target is in the tier.
	forRoom bool
}

// stopping iterates over the workers that may be acted upon, with their histories. No
// action reaches a worker in another way.
func (pl *planner) stopping(yield func(*Worker, *WorkerHistory) bool) {
	for i := range pl.s.Workers {
		w := &pl.s.Workers[i]
		if w.State == Stopping && !yield(w, &pl.st.Workers[pl.st.index[w.ID]]) {
			return
		}
	}
}
