package systemd

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// An Entry is one event for the journal; see systemd.journal-fields(7).
type Entry struct {
	MessageID string
	Message   string
	// Priority is as of syslog(3), 1 alert to 7 debug. 0 stands for 6, informational:
	// journald writes an emergency to every terminal.
	Priority int
	// Fields have names of at most 64 upper-case letters, digits and underscores.
	// journald drops others silently.
	Fields map[string]string
	// Unit and PID are the unit and the process that the entry is about, if any. By these
	// "journalctl -u UNIT" shows the entry. journald finds the unit of a pid by itself,
	// but not once the process has exited.
	Unit, PID string
	// Limit is a key. Of entries with the same key the journal writes a limited number;
	// an entry without a key is always written.
	Limit string
}

// A Journal writes entries in their order. A goroutine of its own writes them, so no
// sender waits for journald. If the standard error of this process is journald's, entries
// go to journald with all their fields; otherwise they go to standard error as lines of
// text.
type Journal struct {
	identifier string // SYSLOG_IDENTIFIER of every entry
	leftOut    string // name of the field with the number of entries left out before an entry
	stderr     io.Writer
	socket     string        // journald's; "" = write lines
	written    chan struct{} // closed when all of a closed queue is written

	mu     sync.Mutex  // of the following fields
	queue  chan queued // nil when closed
	limits limits
}

// queued is an entry that waits to be written.
type queued struct {
	Entry
	at      time.Time
	leftOut int // entries that should have come before it
}

// queueSize is how many entries wait for journald at the most.
const queueSize = 512

// ErrLost means that an entry will not be written: the queue is full, or the journal was
// closed.
var ErrLost = errors.New("the journal takes no more entries")

// NewJournal returns a journal whose entries have the given SYSLOG_IDENTIFIER. The field
// named leftOut counts entries that were left out. If the journal writes lines, it writes
// them to stderr.
func NewJournal(stderr io.Writer, identifier, leftOut string) *Journal {
	j := makeJournal(stderr, identifier, leftOut)
	// If standard error was redirected, also within a unit, entries are expected there.
	// An error means a malformed JOURNAL_STREAM: it is not journald's.
	if native, err := journal.StderrIsJournalStream(); native && err == nil {
		j.socket = "/run/systemd/journal/socket"
	}
	return j.start()
}

func makeJournal(stderr io.Writer, identifier, leftOut string) *Journal {
	return &Journal{
		identifier: identifier, leftOut: leftOut, stderr: stderr,
		written: make(chan struct{}), queue: make(chan queued, queueSize),
		limits: limits{by: map[string]*limit{}},
	}
}

// start begins to write.
func (j *Journal) start() *Journal {
	queue := j.queue
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

// Send queues one entry, whose fields must not be changed afterwards, or leaves it out if
// entries of its key come too often. The next entry that is written has the number of
// those left out and lost ([ErrLost]).
func (j *Journal) Send(e Entry) error {
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	leftOut, ok := j.limits.take(now, e)
	if !ok {
		return nil
	}
	select {
	case j.queue <- queued{e, now, leftOut}:
		return nil
	default:
		j.limits.lost += leftOut + 1
		return ErrLost
	}
}

// Close waits until all entries are written, or ctx ends. Entries sent later are lost.
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
