package haproxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hapressure/haproxy/cli"
	"hapressure/haproxy/proc"
)

// ID names a process for ever: its pid and its start time.
type ID = proc.ID

// State is what is proven of a worker. The zero value is Unknown. Unknown workers are
// never changed.
type State int

const (
	StateUnknown  State = iota
	StateCurrent        // proven to accept connections
	StateStopping       // proven to accept none, while a younger worker of its instance does
)

func (s State) String() string { return [...]string{"unknown", "current", "stopping"}[s] }

// Worker is one worker process of a master, or a process of a HAProxy without a master,
// as a Scan found it. It has no method that changes the process: see Stopping.
type Worker struct {
	ID
	Master ID // zero if it has none
	// Generation is 1 for the oldest that the Scanner has seen, higher for a younger
	// worker. That of a worker that has not yet started may change.
	Generation int
	State      State  // see Why
	Why        string // the reason for State, for messages
	Age        time.Duration
	// StoppingFor is the age of the next younger generation, whose start made this one
	// stop. If that one had ended before the Scanner first saw this one, it is too short.
	// 0 unless stopping.
	StoppingFor time.Duration
	// ReplacedBy is the pid of a younger process without a master that is current and
	// named this one after -sf or -st; 0 = none. A worker that is current and replaced is
	// stranded: it got the signal to stop, but serves.
	ReplacedBy int

	// Memory, in bytes. See CacheErr and SizeErr.
	Cache   uint64 // held by the TLS session cache. Read only when stopping
	Shared  uint64 // all shared anonymous memory. Not read when stopping
	Private uint64 // in RAM or swapped out: mostly the heap
	Swapped uint64 // of Private, what is swapped out
	Mapped  uint64 // mapped files in RAM: mostly the program, which all workers share
	Kernel  uint64 // what the kernel holds for it: page tables, table of descriptors
	RAM     uint64 // what page tables show in RAM
	// OOMScoreAdj is its oom_score_adj, read only when stopping; 0 if it cannot be read.
	// Protect, which depends on it, reads it again.
	OOMScoreAdj int
	Files       int // open files, most of which are connections; 0 = unknown, as before Linux 6.2

	CacheErr error // why Cache is unknown: a *Refusal if no memory is recognised as a cache
	SizeErr  error // why the others are unknown

	procfs    string
	exe       string // the path of its program
	cli       *cli.Client
	reads     proc.Turnstile
	shared    map[int][]uint64 // inodes that stopping workers map, by pid; see cacheFile.owners
	proven    State            // State as proven: State is a copy for others to read
	successor bool             // whether a younger worker of its instance is current
}

// serves reports whether a worker is proven to be current.
func serves(w Worker) bool { return w.State == StateCurrent }

// Instance is one HAProxy: a master with its workers, or the processes that reloads by
// -sf have started one after another.
type Instance struct {
	Master  ID       // zero if it has none
	Workers []Worker // the oldest first
	CLIErr  error    // why a worker that may be stopping could not be asked
}

// String names the instance in messages.
func (in Instance) String() string {
	if in.Master == (ID{}) {
		return fmt.Sprintf("HAProxy %d without a master", in.leader().PID)
	}
	return fmt.Sprintf("master %d", in.Master.PID)
}

// leader returns the master, or the youngest process if there is no master.
func (in Instance) leader() ID {
	if in.Master == (ID{}) {
		return in.Workers[len(in.Workers)-1].ID
	}
	return in.Master
}

// Errors of questions to workers.
var (
	// ErrGone means that the process has ended, or that its pid belongs to another one.
	ErrGone = proc.ErrGone
	// ErrNoCLI means that the worker's CLI cannot be reached, or refuses what was asked.
	ErrNoCLI = cli.ErrNoCLI

	// errNoMaster is permanent, as ErrNoCLI is not.
	errNoMaster = fmt.Errorf("%w: it has no master", ErrNoCLI)

	errNotAsked = errors.New("not asked: only workers that are stopping are")
)

// Connections returns the number of client connections of a stopping worker, at most some
// seconds old. Other workers are not asked.
func (w *Worker) Connections(ctx context.Context) (int, error) {
	switch {
	case w.State != StateStopping:
		return 0, errNotAsked
	case w.cli == nil:
		return 0, errNoMaster
	}
	info, err := w.cli.Info(ctx)
	return info.Connections, err
}
