package policy

import (
	"slices"
	"time"
)

// Result is how an action ended.
type Result string

const (
	Done    Result = "done"    // it took effect: memory was freed, or the worker is gone
	Refused Result = "refused" // a check right before it spoke against it
	Failed  Result = "failed"  // it was tried in vain
	Skipped Result = "skipped" // it was not tried, because of a dry run: not given again
)

// Outcome is the end of one Due, which Tier, Kind and Worker name.
type Outcome struct {
	Tier       string        `json:"Tier"`
	Kind       string        `json:"Kind"`
	Worker     WorkerID      `json:"Worker"`
	At         time.Duration `json:"At"` // on the clock of Sample.Now
	Result     Result        `json:"Result"`
	FreedBytes uint64        `json:"FreedBytes"` // as measured
	Reason     string        `json:"Reason"`     // why it did not end with Done
}

// Memory is what is remembered of one worker for as long as it lives.
type Memory struct {
	ID       WorkerID            `json:"ID"`
	Seen     time.Duration       `json:"Seen"`     // when it was first sampled as stopping
	Attempts map[string]*Attempt `json:"Attempts"` // by kind of action
}

// Attempt is what became of one kind of action on one worker.
type Attempt struct {
	InFlight bool          `json:"InFlight"` // given, and its end not reported yet
	Given    time.Duration `json:"Given"`    // when it was last given
	Tries    int           `json:"Tries"`    // how often it ended
	Result   Result        `json:"Result"`   // how it last ended
	Retry    time.Duration `json:"Retry"`    // not to be given before this
	After    Holding       `json:"After"`    // what the worker held when it was first sampled after the end
}

// Holding is what a worker holds of what an action may make it give, nothing if that is not known: much the same as after the last try,
// and there is no reason for another.
type Holding struct {
	Bytes uint64 `json:"Bytes"`
	Files int    `json:"Files"`
}

// differs tells whether a figure is more than a tenth away from what it was, and by more than what comes and goes by itself.
func (h Holding) differs(was Holding) bool {
	far := func(now, then, least uint64) bool {
		diff := max(now, then) - min(now, then)
		return diff > then/10 && diff > least
	}
	return far(h.Bytes, was.Bytes, 4<<20) || far(uint64(h.Files), uint64(was.Files), 16)
}

// again reports whether an action that can be done any number of times may be given: the first time, after a failure, and once what the
// worker holds has changed since the first sample after it was last done.
func (a Attempt) again(held Holding, now time.Duration) bool {
	switch {
	case a.InFlight:
		return false
	case a.Tries == 0:
		return true
	case a.Result == Failed:
		return now >= a.Retry
	case a.Result != Done || a.After == Holding{}:
		return false
	}
	return now >= a.Retry && held.differs(a.After)
}

// ready reports whether the action may be given.
func (a Attempt) ready(now time.Duration) bool {
	return !a.InFlight && a.Result != Done && a.Result != Skipped && (a.Tries == 0 || now >= a.Retry)
}

const maxBackoff = 30 * time.Second

// backoff is the pause after so many tries: 1s, 2s, 4s and so on.
func backoff(tries int) time.Duration {
	return min(time.Second<<min(max(tries-1, 0), 5), maxBackoff)
}

// ending reports whether the worker is gone already or about to be.
func (m *Memory) ending() bool {
	return m.terminated() || m.attempt(HardStopAfter).InFlight || m.attempt(HardStopAfter).Result == Done
}

func (m *Memory) terminated() bool {
	a := m.attempt(TerminateOldest)
	return a.InFlight || a.Result == Done
}

// attempt returns what became of one kind of action, the zero Attempt if it was never given.
func (m *Memory) attempt(kind string) Attempt {
	if a := m.Attempts[kind]; a != nil {
		return *a
	}
	return Attempt{}
}

// give records that an action was given.
func (m *Memory) give(kind string, now time.Duration) {
	a := m.attempt(kind)
	a.InFlight, a.Given = true, now
	m.set(kind, a)
}

// end records how an action ended.
func (m *Memory) end(o Outcome) {
	a := m.attempt(o.Kind)
	tries := a.Tries + 1
	m.set(o.Kind, Attempt{Given: a.Given, Tries: tries, Result: o.Result, Retry: o.At + backoff(tries)})
}

func (m *Memory) set(kind string, a Attempt) {
	if m.Attempts == nil {
		m.Attempts = map[string]*Attempt{}
	}
	m.Attempts[kind] = &a
}

// measure records what the worker holds in the first sample after an action has relieved it.
func (m *Memory) measure(w *Worker) {
	for kind, a := range m.Attempts {
		if a.Result == Done && !a.InFlight && (a.After == Holding{}) {
			a.After = holding(kind, w)
		}
	}
}

// holding is what a worker holds of what an action of that kind may make it give.
func holding(kind string, w *Worker) Holding {
	switch kind {
	case TrimPools:
		return Holding{w.Private, w.Files}
	case PageOut:
		return Holding{Bytes: w.RAM}
	}
	return Holding{}
}

// meet begins to remember workers that are stopping, and forgets those that are gone.
func (st *State) meet(s *Sample) {
	if st.index == nil {
		st.index = map[WorkerID]int{}
	}
	clear(st.index)
	for i := range s.Workers {
		st.index[s.Workers[i].ID] = -1 // seen, not known
	}
	st.Workers = slices.DeleteFunc(st.Workers, func(m Memory) bool {
		if _, seen := st.index[m.ID]; seen {
			return false
		}
		if m.ending() {
			st.Acted, st.Effect = true, s.Now
		}
		if m.terminated() {
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
			st.Workers = append(st.Workers, Memory{ID: w.ID, Seen: s.Now})
		}
		st.Workers[st.index[w.ID]].measure(w)
	}
	slices.Sort(st.generations)
	st.generations = slices.Compact(st.generations)
}

// Done takes note of how a Due ended. Each must be reported, and once; of a worker that is gone meanwhile it may be.
func (st *State) Done(o Outcome) {
	// What only relieves a worker comes in a long row, one after the other. If memory had to be measured anew after each, nothing would ever
	// be terminated meanwhile.
	relief := o.Kind == TrimPools || o.Kind == PageOut
	if o.Result == Done && !relief {
		st.Acted, st.Effect = true, max(st.Effect, o.At)
	} else if o.Kind == TerminateOldest {
		st.Terminated, st.TerminatedAt = true, max(st.TerminatedAt, o.At)
	}
	if i := slices.IndexFunc(st.Workers, func(m Memory) bool { return m.ID == o.Worker }); i >= 0 {
		st.Workers[i].end(o)
	}
}
