package haproxy

import (
	"hapressure/haproxy/cli"
	"hapressure/haproxy/proc"
)

// memory is what a Scanner remembers of one worker: what cannot change any more, and what
// makes the next Scan cheaper.
type memory struct {
	generation int
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
	cli        *cli.Client
	reads      proc.Turnstile
}

// memories are those of the workers that there are.
type memories map[ID]*memory
