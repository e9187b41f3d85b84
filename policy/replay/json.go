package replay

import (
	"bytes"
	"encoding/json"
	"io"
	"time"

	"hapressure/policy"
)

// Document is what "hapressure replay --json" prints.
type Document struct {
	Target  string        `json:"target"`  // that was recorded
	From    time.Time     `json:"from"`    // the first sample
	To      time.Time     `json:"to"`      // the last sample
	Samples int           `json:"samples"` // their number
	Runs    []RunDocument `json:"runs"`    // what was recorded, then each --policy
}

// RunDocument is what one policy did.
type RunDocument struct {
	Name    string             `json:"name"`         // "as recorded", or the file of the policy
	Spent   map[string]float64 `json:"tier_seconds"` // in each tier, by its name
	Entries []EntryDocument    `json:"entries"`      // in the order of time
}

// EntryDocument is one thing that a policy did: exactly one of its objects is not left
// out.
type EntryDocument struct {
	At      time.Time        `json:"at"`                // when it was done
	Change  *ChangeDocument  `json:"change,omitempty"`  // the tier changed
	Action  *ActionDocument  `json:"action,omitempty"`  // an action was started
	Outcome *OutcomeDocument `json:"outcome,omitempty"` // an action ended
}

// ChangeDocument is a change of tier.
type ChangeDocument struct {
	From     int    `json:"from"`      // number of the tier, 0 = none
	To       int    `json:"to"`        // number of the tier, 0 = none
	FromTier string `json:"from_tier"` // its name, empty = none
	ToTier   string `json:"to_tier"`   // its name, empty = none
	Why      string `json:"why"`       // the values that decided it
}

// ActionDocument is the start of an action.
type ActionDocument struct {
	Tier       string `json:"tier"`       // whose action it is
	Action     string `json:"action"`     // as the policy calls it
	PID        int    `json:"pid"`        // of the worker
	Generation int    `json:"generation"` // of the worker
	Why        string `json:"why"`        // the values that decided it
}

// OutcomeDocument is the end of an action.
type OutcomeDocument struct {
	Tier   string        `json:"tier"`             // whose action it is
	Action string        `json:"action"`           // as the policy calls it
	PID    int           `json:"pid"`              // of the worker
	Result policy.Result `json:"result"`           // done, refused, failed or skipped
	Freed  uint64        `json:"freed_bytes"`      // measured; of a model 0
	Reason string        `json:"reason,omitempty"` // why it is not done
}

// WriteJSON writes a [Document].
func (v *View) WriteJSON(w io.Writer, runs []*Run) error {
	return write(w, func(s *stream) {
		s.open(Document{Target: v.Target, From: v.From, To: v.To, Samples: v.Samples})
		for i, r := range runs {
			s.comma(i)
			run := RunDocument{Name: r.Name, Spent: map[string]float64{}}
			for tier, spent := range r.Spent {
				run.Spent[tier] = spent.Seconds()
			}
			s.open(run)
			for i := range r.Entries {
				s.comma(i)
				s.value(r.Entries[i].document())
			}
			s.text("]}")
		}
		s.text("]}\n")
	})
}

// open writes the object of v, and begins its last field, an empty list.
func (s *stream) open(v any) {
	b, err := json.Marshal(v)
	if err != nil && s.err == nil {
		s.err = err
	}
	s.w.Write(bytes.TrimSuffix(b, []byte("null}")))
	s.text("[")
}

// comma separates item i of a list from the one before.
func (s *stream) comma(i int) {
	if i > 0 {
		s.text(",")
	}
}

func (e *Entry) document() EntryDocument {
	d := EntryDocument{At: e.At}
	switch {
	case e.Change != nil:
		c := e.Change
		d.Change = &ChangeDocument{c.From, c.To, c.FromName, c.ToName, c.Why}
	case e.Action != nil:
		a := e.Action
		d.Action = &ActionDocument{a.Tier, a.Kind, a.Worker.PID, a.Generation, a.Why}
	default:
		o := e.Outcome
		d.Outcome = &OutcomeDocument{o.Tier, o.Kind, o.Worker.PID, o.Result, o.FreedBytes,
			o.Reason}
	}
	return d
}
