package policy

import "slices"

// track adds a history for each worker that is newly stopping, and removes those of
// workers that are gone.
func (st *State) track(s *Sample) {
	if st.index == nil {
		st.index = map[WorkerID]int{}
	}
	clear(st.index)
	for i := range s.Workers {
		st.index[s.Workers[i].ID] = -1 // sensed, without a history
	}
	st.Workers = slices.DeleteFunc(st.Workers, func(h WorkerHistory) bool {
		if _, sensed := st.index[h.ID]; sensed {
			return false
		}
		if h.ending() {
			st.Acted, st.Effect = true, s.Now
		}
		if h.terminated() {
			st.Terminated, st.TerminatedAt = true, s.Now
		}
		return true
	})
	for i := range st.Workers {
		st.index[st.Workers[i].ID] = i
	}
	st.generations = st.generations[:0]
	for i := range s.Workers {
		w := &s.Workers[i]
		if w.State != Stopping {
			continue
		}
		st.generations = append(st.generations, w.Generation)
		if st.index[w.ID] < 0 {
			st.index[w.ID] = len(st.Workers)
			st.Workers = append(st.Workers, WorkerHistory{ID: w.ID, Seen: s.Now})
		}
		st.Workers[st.index[w.ID]].measure(w)
	}
	slices.Sort(st.generations)
	st.generations = slices.Compact(st.generations)
}

// Done records the end of a Due. The caller must report each end exactly once, also if
// the worker is gone by then.
func (st *State) Done(o Outcome) {
	// Actions that only relieve a worker come in a long series. If memory had to be
	// measured again after each, no worker would be terminated meanwhile. Others free
	// nothing.
	relief := []string{TrimPools, PageOut, Protect, Cold}
	if o.Result == Done && !slices.Contains(relief, o.Kind) {
		st.Acted, st.Effect = true, max(st.Effect, o.At)
	} else if o.Kind == TerminateOldest {
		st.Terminated, st.TerminatedAt = true, max(st.TerminatedAt, o.At)
	}
	known := func(h WorkerHistory) bool { return h.ID == o.Worker }
	if i := slices.IndexFunc(st.Workers, known); i >= 0 {
		st.Workers[i].end(o)
	}
}
