package policyfiles

import (
	"time"

	"hapressure/controller"
	"hapressure/policy"
	"hapressure/policy/language"
)

// Follower puts the policy of files in force when they change. A policy with mistakes
// changes nothing.
type Follower struct {
	names    []string        // of the files; none: those of this host
	kept     string          // file of the policy that was last in force; "": none
	keeping  chan lastPolicy // the policy to persist there
	files    []language.File
	tryAgain time.Duration
	asked    chan chan error // requests to reload, and their results
	to       Holder          // set by Follow
	journal  controller.Journal
}

// lastPolicy is the policy that was last in force, and the names of its files. A restart,
// such as that of an upgrade, begins with it if the files have mistakes, so that HAProxy
// stays guarded.
type lastPolicy struct {
	Names []string        `json:"Names"`
	Files []language.File `json:"Files"`
}

// Holder holds the policy in force; *controller.Controller is it.
type Holder interface {
	SetPolicy(p *policy.Policy, origin string)
	KeepPolicy(mistakes error)
}

// tryAgain is when files with mistakes are read again: no change is seen of a link's
// target or of a disk that is mounted late.
const tryAgain = time.Minute

// NewFollower makes a follower of the named files, of which all but the first are
// drop-ins; without names of those of this host. kept is the file of the policy that was
// last in force, "" for none.
func NewFollower(names []string, kept string, j controller.Journal) *Follower {
	return &Follower{names: names, kept: kept, journal: j, keeping: make(chan lastPolicy, 1),
		asked: make(chan chan error), tryAgain: tryAgain}
}

func (r *Follower) load() (p *policy.Policy, err error) {
	p, r.files, err = load(OpenTrusted, r.names)
	return p, err
}

// origin returns the policy's files in words, "" if they cannot be read.
func (r *Follower) origin() string {
	if len(r.files) == 0 {
		return ""
	}
	return Origin(r.files)
}
