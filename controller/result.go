package controller

import (
	"time"

	"hapressure/haproxy"
	"hapressure/policy"
)

// result is the outcome of an action on a worker.
type result struct {
	policy.Result
	freed    uint64        // bytes
	more     bool          // there is more to be done; see policy.Outcome
	what     string        // what was done, with its figures
	why      string        // the reason if it was not Done
	took     time.Duration // the action itself
	since    time.Duration // since the tick that found it due; 0 if it is manual
	held     time.Duration // how long the worker's threads were frozen
	stall    time.Duration // of its first thread, at most, without waiting for events; 0: not known
	sessions int           // shut down
}

// ended is an action that has ended.
type ended struct {
	lane   lane
	due    queued
	manual bool
	result
}

// resultOf classifies the error of an action, of the policy or manual: Refused if every
// further attempt would meet it, Failed if it may pass.
func resultOf(err error) policy.Result {
	if haproxy.Permanent(err) {
		return policy.Refused
	}
	return policy.Failed
}
