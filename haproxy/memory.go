package haproxy

import (
	"slices"

	"hapressure/haproxy/cli"
	"hapressure/haproxy/proc"
)

// memory is what a Scanner remembers of one worker: what cannot change any more, and what
// makes the next Scan cheaper.
type memory struct {
	generation int           // 0 = not given yet
	started    bool          // it was seen in its event loop
	listener   proc.Listener // on which it was last seen to accept
	stopping   string        // the reason, once proven
	since      uint64        // clock tick since which it has been stopping; 0 = not known
	shared     []uint64      // then, inodes of the shared memory that it maps; nil = not known
	cache      *proc.Mapping // once recognised
	refusal    *Refusal      // or why there is none
	proved     uint64        // number of the Scan that last examined its sockets
	measured   uint64        // number of the Scan that last measured it
	seen       bool          // in the present Scan
	cli        *cli.Client   // nil without a master
	standing   *standing     // nil with a master
	lineage    int           // the same for processes of one instance without a master
	signalled  bool          // a younger process of its lineage has stopped it
	reads      proc.Turnstile
}

// memories are those of the workers that there are.
type memories map[ID]*memory

// names reports whether the process y names the process o after -sf or -st.
func (known memories) names(y, o ID) bool {
	ys, os := known[y].standing, known[o].standing
	return ys != nil && os != nil && o.Start < y.Start && slices.Contains(ys.old, os.nspid) &&
		ys.pids == os.pids && ys.nets == os.nets && ys.users == os.users &&
		(ys.uid == os.uid || ys.uid == 0)
}

// connect makes one lineage of the processes that names connect. A process may have ended
// since the last Scan.
func (known memories) connect(alone []process) {
	for _, y := range alone {
		m := known[y.ID]
		if len(m.standing.old) == 0 {
			continue
		}
		for id, o := range known {
			if o.lineage != m.lineage && known.names(y.ID, id) {
				known.merge(m.lineage, o.lineage)
			}
		}
	}
}

// merge makes one lineage of two.
func (known memories) merge(from, to int) {
	for _, m := range known {
		if m.lineage == from {
			m.lineage = to
		}
	}
}

// sockets is what is known of a worker's sockets.
type sockets int

const (
	notExamined sockets = iota
	acceptNothing
	accept
)
