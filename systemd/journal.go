package systemd

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// Identifier is the SYSLOG_IDENTIFIER of every entry.
const Identifier = "hapressure"

// Fields that we ourselves make something of.
const (
	fieldTarget    = "HAPRESSURE_TARGET"
	fieldWorkerPID = "HAPRESSURE_WORKER_PID"
)

// Each kind of entry has a MESSAGE_ID, by which journalctl finds it and the message catalog explains it. They never change.
const (
	// TierChanged: a target has entered or left a tier of the policy.
	TierChanged = "1eb33107bf134766876dbbac6f6d36de"
	// Action: something was done to a worker, and this came of it.
	Action = "99f9166ac5dd452cbffeda1ae8d327f2"
	// Refused: an action was due but not done, for it could not be proven safe.
	Refused = "352f0fbf000745c9ac4b2dcf45299f67"
	// Withheld: an action that costs connections is not done, for too little would be gained.
	Withheld = "a2ac9b99d8864338a14d755deea6bada"
	// Failed: an action was tried and did not succeed.
	Failed = "60c4c3e9e6624aa29913ec7e5c5f97d4"
	// TargetFound: a unit of the policy is running and is being watched.
	TargetFound = "d0b9d84b3bba4ba2854a313c02732ab8"
	// TargetLost: a watched unit has stopped or its cgroup was removed.
	TargetLost = "676def0cead1433c998ce9bf3c0a54c3"
	// SensorMissing: a reading cannot be had; the others go on without it.
	SensorMissing = "213f5ccdcaeb48cca2c0a254d38202ab"
	// StorageFailed: hapressure could not write, read or remove a file of its own: a recording, or the
	// state that it persists.
	StorageFailed = "23dd67bd445345238889e505457baca2"
	// ConnectionChanged: units are found in another way than before, such as without D-Bus.
	ConnectionChanged = "c262eba8427f41c0ace566887a9e87f9"
	// RightMissing: the kernel does not let us do what actions need.
	RightMissing = "e71204987ab14a03b6bf9aee4e9f6304"
	// HookFailed: a tier's hook could not be run, or has failed.
	HookFailed = "2154b09253864c5d9aa9538cca0af058"
	// PolicyLoaded: a policy is in force from now on.
	PolicyLoaded = "f241d1f9ed1642b381172cc8eaca3bc1"
	// PolicyRejected: a policy has errors; the one before stays in force.
	PolicyRejected = "ceedffe71a0c4649afb7fbb0a27bce36"
	// Started: the daemon has started.
	Started = "dc6b867543df4cf69c50ca34ad5a1e9f"
	// Stopped: the daemon ends by request.
	Stopped = "07f31900a6804415912d1c423d2a27ae"
)

// Kinds are names for the message ids.
var Kinds = map[string]string{
	TierChanged: "tier-changed", Action: "action", Refused: "refused", Failed: "failed", Withheld: "withheld",
	TargetFound: "target-found", TargetLost: "target-lost",
	SensorMissing: "sensor-missing", StorageFailed: "storage-failed", ConnectionChanged: "connection-changed",
	RightMissing: "right-missing", HookFailed: "hook-failed",
	PolicyLoaded: "policy-loaded", PolicyRejected: "policy-rejected", Started: "started", Stopped: "stopped",
}

// An Entry is one event for the journal; see systemd.journal-fields(7).
type Entry struct {
	MessageID string // one of the constants of this package
	Message   string
	Priority  int // as of syslog(3), 1 alert to 7 debug; 0 stands for 6, informational: an emergency is written to every terminal
	// Fields have names of at most 64 upper-case letters, digits and underscores; journald drops others silently.
	Fields map[string]string
}

// A Journal writes entries, in order and by a goroutine of its own: who tells something never waits for journald. They go to journald
// with all their fields where the daemon's standard error is journald's, else to standard error as lines of text.
type Journal struct {
	stderr  io.Writer
	socket  string        // journald's; "" = write lines
	written chan struct{} // closed when all of a closed queue is written

	mu     sync.Mutex // of what follows
	queue  chan told  // nil when closed
	limits limits
}

// told is an entry on its way.
type told struct {
	Entry
	at      time.Time
	leftOut int // entries that should have come before it
}

// ErrLost says that an entry will not be written: too many wait for journald already, or the journal was closed.
var ErrLost = errors.New("the journal takes no more entries")

// NewJournal returns a journal that writes its lines, where it has to write lines, to stderr.
func NewJournal(stderr io.Writer) *Journal {
	// Whoever redirects standard error wants to read the entries there, also within a unit. An error means a malformed JOURNAL_STREAM:
	// not journald's.
	if native, err := journal.StderrIsJournalStream(); native && err == nil {
		return newJournal(stderr, "/run/systemd/journal/socket")
	}
	return newJournal(stderr, "")
}

func newJournal(stderr io.Writer, socket string) *Journal {
	queue := make(chan told, 512)
	j := &Journal{stderr: stderr, socket: socket, written: make(chan struct{}), queue: queue, limits: limits{by: map[string]*limit{}}}
	go func() {
		for e := range queue {
			if j.write(e) != nil {
				j.mu.Lock()
				j.limits.lost += e.leftOut + 1
				j.mu.Unlock()
			}
		}
		close(j.written)
	}()
	return j
}

// Send queues one entry, whose fields must not be changed any more, or leaves it out where its kind comes too often. How many were left out
// or lost (ErrLost) is told with the next one that is written.
func (j *Journal) Send(e Entry) error {
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	leftOut, ok := j.limits.take(now, e)
	if !ok {
		return nil
	}
	select {
	case j.queue <- told{e, now, leftOut}:
		return nil
	default:
		j.limits.lost += leftOut + 1
		return ErrLost
	}
}

// Close waits until all is written or ctx ends. What is sent later is lost.
func (j *Journal) Close(ctx context.Context) {
	j.mu.Lock()
	close(j.queue)
	j.queue = nil
	j.mu.Unlock()
	select {
	case <-j.written:
	case <-ctx.Done():
	}
}
