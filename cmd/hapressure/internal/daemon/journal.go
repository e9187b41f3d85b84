package daemon

import (
	"context"
	"time"

	"hapressure/systemd"
)

// closeJournal waits at most two seconds for a journald that hangs to take the last
// entries.
func closeJournal(j *systemd.Journal) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	j.Close(ctx)
}
