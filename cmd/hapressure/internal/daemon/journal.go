package daemon

import (
	"context"
	"time"

	"hapressure/systemd"
)

// closeJournal gives journald, should it hang, two seconds for what it was not told yet.
func closeJournal(j *systemd.Journal) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	j.Close(ctx)
}
