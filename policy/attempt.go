package policy

import "time"

// Result is how an action ended.
type Result string

// The results of an action.
const (
	Done    Result = "done"    // it took effect: memory was freed, or the worker is gone
	Refused Result = "refused" // a check immediately before it forbade it
	Failed  Result = "failed"  // it was tried without success
	Skipped Result = "skipped" // the mode did not permit it, or no longer: not given again under it
)

// Outcome is the end of the Due that has the same Tier, Kind and Worker.
type Outcome struct {
	Tier       string        `json:"Tier"`
	Kind       string        `json:"Kind"`
	Worker     WorkerID      `json:"Worker"`
	At         time.Duration `json:"At"` // on the clock of Sample.Now
	Result     Result        `json:"Result"`
	FreedBytes uint64        `json:"FreedBytes"` // as measured
	// More says that the action is done and that its time was over before it had done all
	// that it could.
	More   bool   `json:"More,omitzero"`
	Reason string `json:"Reason"` // why Result is not Done
}

// WorkerHistory is what is remembered of one stopping worker while it lives.
type WorkerHistory struct {
	ID       WorkerID            `json:"ID"`
	Seen     time.Duration       `json:"Seen"`     // when it was first sensed as stopping
	Attempts map[string]*Attempt `json:"Attempts"` // by kind of action
}

// Attempt is what is remembered of one kind of action on one worker.
type Attempt struct {
	InFlight bool          `json:"InFlight"`      // given, and its end is not reported yet
	Given    time.Duration `json:"Given"`         // when it was last given
	Tries    int           `json:"Tries"`         // how often it ended
	Result   Result        `json:"Result"`        // how it last ended
	Retry    time.Duration `json:"Retry"`         // not given again before this
	More     bool          `json:"More,omitzero"` // as of the last Outcome
	After    Holding       `json:"After"`         // of the worker in the first sample after the end
	// OOMScoreAdj is the value that it was last given with; see Protect.
	OOMScoreAdj int `json:"OOMScoreAdj,omitzero"`
}

// Holding is what an action could make a worker free; zero = not known. The action is
// not repeated while this is about the same as after the last attempt.
type Holding struct {
	Bytes uint64 `json:"Bytes"`
	Files int    `json:"Files"`
}

// differs reports whether one of the figures differs from an earlier one by more than a
// tenth, and by more than normal fluctuation.
func (h Holding) differs(was Holding) bool {
	far := func(now, then, least uint64) bool {
		diff := max(now, then) - min(now, then)
		return diff > then/10 && diff > least
	}
	return far(h.Bytes, was.Bytes, 4<<20) || far(uint64(h.Files), uint64(was.Files), 16)
}

// repeats reports whether an action that can be done any number of times is to be given:
// the first time, after a failure, and when the worker's holding has changed since the
// last time.
func (a Attempt) repeats(held Holding, now time.Duration) bool {
	switch {
	case a.InFlight:
		return false
	case a.Tries == 0 || a.More:
		return true
	case a.Result == Failed:
		return now >= a.Retry
	case a.Result != Done || a.After == Holding{}:
		return false
	}
	return now >= a.Retry && held.differs(a.After)
}

// ready reports whether an action that can be done only once may be given.
func (a Attempt) ready(now time.Duration) bool {
	ended := a.Result == Done || a.Result == Skipped
	return !a.InFlight && !ended && (a.Tries == 0 || now >= a.Retry)
}

const maxBackoff = 30 * time.Second

// backoff returns the pause after a number of tries: 1 s, 2 s, 4 s and so on.
func backoff(tries int) time.Duration {
	return min(time.Second<<min(max(tries-1, 0), 5), maxBackoff)
}

// ending reports whether an action has ended the worker or is about to.
func (h *WorkerHistory) ending() bool {
	drain := h.attempt(HardStopAfter)
	return h.terminated() || drain.InFlight || drain.Result == Done
}

// terminated reports whether a termination has ended the worker or is about to.
func (h *WorkerHistory) terminated() bool {
	a := h.attempt(TerminateOldest)
	return a.InFlight || a.Result == Done
}

// attempt returns the attempt of one kind, the zero Attempt if the action was never
// given.
func (h *WorkerHistory) attempt(kind string) Attempt {
	if a := h.Attempts[kind]; a != nil {
		return *a
	}
	return Attempt{}
}

// begin records that an action was given.
func (h *WorkerHistory) begin(due Due, now time.Duration) {
	a := h.attempt(due.Kind)
	a.InFlight, a.Given, a.OOMScoreAdj = true, now, due.OOMScoreAdj
	h.set(due.Kind, a)
}

// end records how an action ended.
func (h *WorkerHistory) end(o Outcome) {
	a := h.attempt(o.Kind)
	tries := a.Tries + 1
	retry := o.At + backoff(tries)
	h.set(o.Kind, Attempt{Given: a.Given, Tries: tries, Result: o.Result, Retry: retry,
		More: o.More, OOMScoreAdj: a.OOMScoreAdj})
}

func (h *WorkerHistory) set(kind string, a Attempt) {
	if h.Attempts == nil {
		h.Attempts = map[string]*Attempt{}
	}
	h.Attempts[kind] = &a
}

// measure records the worker's holdings in the first sample after each action that was
// done.
func (h *WorkerHistory) measure(w *Worker) {
	for kind, a := range h.Attempts {
		if a.Result == Done && !a.InFlight && (a.After == Holding{}) {
			a.After = holding(kind, w)
		}
	}
}

// holding returns what an action of a kind could make a worker release.
func holding(kind string, w *Worker) Holding {
	switch kind {
	case TrimPools:
		return Holding{w.Private, w.Files}
	case PageOut:
		return Holding{Bytes: w.Private - min(w.Private, w.Swapped)}
	}
	return Holding{}
}

// Due is one action on one worker that is to be done now. It is not given again before
// State.Done has reported its end. The worker was stopping when it was sensed; the caller
// must check that again before it touches the worker.
type Due struct {
	Tier       string        `json:"Tier"` // whose action it is
	Kind       string        `json:"Kind"`
	Worker     WorkerID      `json:"Worker"`
	Generation int           `json:"Generation"`
	Spread     time.Duration `json:"Spread"`    // as of HardStop
	PerSecond  int           `json:"PerSecond"` // as of HardStop
	Grace      time.Duration `json:"Grace"`     // as of Terminate
	// OOMScoreAdj is the oom_score_adj to raise it to, by Protect.
	OOMScoreAdj int    `json:"OOMScoreAdj,omitzero"`
	Paging      Paging `json:"Paging,omitzero"` // as of PageOut
	Why         string `json:"Why"`             // for the journal
}
