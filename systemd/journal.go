package systemd

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A Journal writes entries in their order. A goroutine of its own writes them, so no
// sender waits for journald.
type Journal struct {
	writer
	written chan struct{} // closed when all of a closed queue is written

	mu     sync.Mutex  // of the following fields
	queue  chan queued // nil when closed
	limits limits
}

// queueSize is how many entries wait for journald at the most.
const queueSize = 512

// ErrLost means that an entry will not be written: the queue is full, or the journal was
// closed.
var ErrLost = errors.New("the journal takes no more entries")

// NewJournal returns a journal whose entries have the given SYSLOG_IDENTIFIER. The field
// named leftOut counts entries that were left out.
func NewJournal(to Sink, identifier, leftOut string) *Journal {
	queue := make(chan queued, queueSize)
	j := &Journal{
		writer:  writer{identifier: identifier, leftOut: leftOut, Sink: to},
		written: make(chan struct{}), queue: queue,
		limits: limits{by: map[string]*limit{}},
	}
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
