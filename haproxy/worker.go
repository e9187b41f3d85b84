package haproxy

import "time"

// State is what is proven of a worker. The zero value is Unknown, and unknown is left alone.
type State int

const (
	Unknown  State = iota
	Current        // proven to accept connections
	Stopping       // proven to accept none, and to have a younger sibling that does; it ends with its last connection
)

func (s State) String() string { return [...]string{"unknown", "current", "stopping"}[s] }

// Worker is one worker process of a master.
type Worker struct {
	ID
	Master     ID
	NSPID      int // its pid as the master and its own CLI know it
	procfs     string
	exe        string
	cli        *cli
	reads      turnstile
	shared     map[int][]uint64 // what stopping workers map, by pid; see CacheFile.owners
	Generation int              // 1 for the oldest that this Scanner has seen; a younger worker has a higher one; never used twice
	State      State            // see Why
	Why        string           // what State rests on, for people
	Age        time.Duration
	// StoppingFor is the age of the next younger generation: its start is what made this one stop. If that one was gone already
	// when this Scanner first looked, it is shorter than the truth. 0 unless Stopping.
	StoppingFor time.Duration
	Cache       uint64 // bytes of memory held by its TLS session cache; see CacheErr
	CacheErr    error  // why Cache is not known: a *Refusal if nothing there is recognised. Read only when Stopping
	Shared      uint64 // bytes of all its shared anonymous memory. Not read when Stopping
	Private     uint64 // bytes of its private memory, in RAM or swapped out
	RAM         uint64 // bytes of its memory that its page tables show in RAM: what PageOut works on
	Files       int    // its open files, most of which are connections; 0 = not known, as before Linux 6.2
	SizeErr     error  // why Shared, Private and RAM are not known
}

// Instance is one HAProxy in master-worker mode.
type Instance struct {
	Master  ID
	Workers []Worker // the oldest first
	CLIErr  error    // why a worker that may be stopping could not be asked: ErrNoCLI, or a fault that may pass
}
