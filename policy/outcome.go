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
	Tier       string
	Kind       string
	Worker     WorkerID
	At         time.Duration // on the clock of Sample.Now
	Result     Result
	FreedBytes uint64 // as measured
	Reason     string // why it did not end with Done
}

// Memory is what is remembered of one worker for as long as it lives.
type Memory struct {
	ID        WorkerID
	Seen      time.Duration // when it was first sampled as stopping
	Purge     Attempt
	HardStop  Attempt
	Terminate Attempt
}

// Attempt is what became of one kind of action on one worker.
type Attempt struct {
	InFlight bool          // given, and its end not reported yet
	Given    time.Duration // when it was last given
	Tries    int           // how often it ended
	Result   Result        // how it last ended
	Retry    time.Duration // not to be given before this
}

// ready tells whether the action may be given.
func (a *Attempt) ready(now time.Duration) bool {
	return !a.InFlight && a.Result != Done && a.Result != Skipped && (a.Tries == 0 || now >= a.Retry)
}

const maxBackoff = 30 * time.Second

// backoff is the pause after so many tries: 1s, 2s, 4s and so on.
func backoff(tries int) time.Duration {
	pause := time.Second
	for ; tries > 1 && pause < maxBackoff; tries-- {
		pause *= 2
	}
	return min(pause, maxBackoff)
}

// ending tells whether the worker is gone already or about to be.
func (m *Memory) ending() bool {
	return m.Terminate.InFlight || m.Terminate.Result == Done || m.HardStop.InFlight || m.HardStop.Result == Done
}

// attempt returns the memory of one kind of action, nil for an unknown kind.
func (m *Memory) attempt(kind string) *Attempt {
	switch kind {
	case PurgeSSLCache:
		return &m.Purge
	case HardStopAfter:
		return &m.HardStop
	case TerminateOldest:
		return &m.Terminate
	}
	return nil
}

// restart makes all times begin anew after the clock jumped.
func (m *Memory) restart(now time.Duration) {
	m.Seen = now
	for _, a := range []*Attempt{&m.Purge, &m.HardStop, &m.Terminate} {
		a.Given, a.Retry = now, now
	}
}

// memory returns what is known of a worker, nil if nothing. The pointer is good until the next step.
func (st *State) memory(id WorkerID) *Memory {
	for i := range st.Workers {
		if st.Workers[i].ID == id {
			return &st.Workers[i]
		}
	}
	return nil
}

// meet begins to remember workers that are stopping, and forgets those that are gone.
func (st *State) meet(s *Sample) {
	st.Workers = slices.DeleteFunc(st.Workers, func(m Memory) bool {
		if slices.ContainsFunc(s.Workers, func(w Worker) bool { return w.ID == m.ID }) {
			return false
		}
		if m.ending() {
			st.Acted, st.Effect = true, s.Now
		}
		if m.Terminate.InFlight || m.Terminate.Result == Done {
			st.Terminated, st.TerminatedAt = true, s.Now
		}
		return true
	})
	for _, w := range s.Workers {
		if w.State == Stopping && st.memory(w.ID) == nil {
			st.Workers = append(st.Workers, Memory{ID: w.ID, Seen: s.Now})
		}
	}
}

// Done takes note of how a Due ended. Each must be reported, and once; of a worker that is gone meanwhile it may be.
func (st *State) Done(o Outcome) {
	if o.Result == Done {
		st.Acted, st.Effect = true, max(st.Effect, o.At)
	} else if o.Kind == TerminateOldest {
		st.Terminated, st.TerminatedAt = true, max(st.TerminatedAt, o.At)
	}
	m := st.memory(o.Worker)
	if m == nil {
		return
	}
	a := m.attempt(o.Kind)
	if a == nil {
		return
	}
	a.InFlight = false
	a.Tries++
	a.Result = o.Result
	a.Retry = o.At + backoff(a.Tries)
}
