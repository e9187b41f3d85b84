package policy

import (
	"fmt"
	"time"
)

// State is what is remembered of one target from step to step. The zero value is ready to
// use. It is not safe for concurrent use.
type State struct {
	Tier     int             `json:"Tier"`     // 0 = none, 1 = the first of the policy
	TierName string          `json:"TierName"` // "" = none
	Started  bool            `json:"Started"`
	Now      time.Duration   `json:"Now"`     // of the last step
	Changed  time.Duration   `json:"Changed"` // when the tier last changed
	Why      string          `json:"Why"`     // why it changed
	Entered  []time.Duration `json:"Entered"` // by tier, from 0: when it was entered
	Tiers    []TierState     `json:"Nodes"`   // by tier, from 0
	Workers  []WorkerHistory `json:"Workers"` // of the workers that were sensed as stopping

	Acted      bool          `json:"Acted"`      // an action took effect, at Effect
	Effect     time.Duration `json:"Effect"`     // when memory was last freed or a worker ended
	Terminated bool          `json:"Terminated"` // a termination ended, at TerminatedAt
	// TerminatedAt is when a terminated worker was last found to be gone, or could not be
	// terminated.
	TerminatedAt time.Duration   `json:"TerminatedAt"`
	Terminations []time.Duration `json:"Terminations"`      // times of those of the last minute
	Withheld     []Withheld      `json:"Withheld,omitzero"` // of the entered tiers
	// LackingRoom is in how many consecutive steps there was less room than a client
	// waits for.
	LackingRoom int `json:"LackingRoom,omitzero"`

	policy      *Policy          // the policy that Entered and Tiers belong to
	confirmed   []Moment         // by tier, from 0: true in this step and in the previous one
	index       map[WorkerID]int // of the sensed workers in Workers; below 0 = not in it
	generations []int            // that are stopping, from the oldest
}

// TierState is what is remembered of the conditions of a tier.
type TierState struct {
	Enter  ConditionState `json:"Enter"`
	Leave  ConditionState `json:"Leave"`
	Urgent ConditionState `json:"Urgent"`
	Last   Moment         `json:"Last"` // what was true in the last step
}

// Moment is what is true of a tier in one step. Connections are cut only for what is true
// in two consecutive steps, because a single reading can be wrong.
type Moment struct {
	Enter bool `json:"Enter"` // enter has been true for its For
	// Short is true unless memory is sufficient: leave is true, though perhaps not yet
	// for its For, and enter is not true even for a moment.
	Short  bool `json:"Short"`
	Urgent bool `json:"Urgent"`
}

// and returns what is true in both.
func (m Moment) and(o Moment) Moment {
	return Moment{m.Enter && o.Enter, m.Short && o.Short, m.Urgent && o.Urgent}
}

// Change is one change of tier.
type Change struct {
	From     int    `json:"From"` // 0 = none
	To       int    `json:"To"`
	FromName string `json:"FromName"`
	ToName   string `json:"ToName"`
	Why      string `json:"Why"` // the value of each signal that the deciding condition read
}

// Decision is the result of one step.
type Decision struct {
	Tier     int        `json:"Tier"` // 0 = none, 1 = the first of the policy
	TierName string     `json:"TierName"`
	Changes  []Change   `json:"Changes"`
	Actions  []Due      `json:"Actions"`           // in the order in which they are to be done
	Withheld []Withheld `json:"Withheld,omitzero"` // actions that are withheld from this step on
	// Confirm asks for the next sample soon: it decides whether connections are cut.
	Confirm bool `json:"Confirm,omitempty"`
}

// Withheld is an action that would cut connections and is not done, because stopping
// workers hold too little of the memory that is short.
type Withheld struct {
	Tier    string        `json:"Tier"`
	Kind    string        `json:"Kind"`
	Since   time.Duration `json:"Since"`   // when it was due for the first time
	Gain    uint64        `json:"Gain"`    // bytes that the stopping workers are known to hold
	Unknown int           `json:"Unknown"` // stopping workers whose holdings are not known
	Of      Limit         `json:"Of"`      // the limit that is short
	Worth   float64       `json:"Worth"`   // percent of it that would be enough
}

func (w Withheld) String() string {
	known := fmt.Sprintf("stopping workers hold %sMiB", FormatNumber(float64(w.Gain)/(1<<20)))
	switch {
	case w.Gain == 0:
		known = "it is not known what stopping workers hold"
	case w.Of.Bytes > 0:
		share := FormatNumber(100 * float64(w.Gain) / float64(w.Of.Bytes))
		known += fmt.Sprintf(", %s%% of %s", share, w.Of.Name)
	}
	if w.Gain > 0 && w.Unknown > 0 {
		known += ", and the memory of " + Count(w.Unknown, "other worker") + " is not known"
	}
	return fmt.Sprintf("%s of tier %s is withheld: %s; "+
		"less than %s%% is not worth cutting connections for",
		w.Kind, w.Tier, known, FormatNumber(w.Worth))
}
