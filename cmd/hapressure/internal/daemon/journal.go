package daemon

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"hapressure/cmd/hapressure/internal/journalctl"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller"
	"hapressure/systemd"
)

// The formats of log entries, of which one can be chosen by a flag.
const (
	logJournal = "journal"
	logFields  = "fields"
	logText    = "text"
	logJSON    = "json"
)

// LogFormats are the values of --log-format.
var LogFormats = []string{logJournal, logText, logFields, logJSON}

// openJournal opens the journal of the daemon, which writes to standard error if format
// is not that of journald. "" is the format that suits standard error.
func openJournal(format string) *systemd.Journal {
	if format == "" {
		format = suitable(os.Stderr)
	}
	to := systemd.Sink{Lines: os.Stderr, Format: systemd.FormatFields}
	switch format {
	case logJournal:
		to.Socket = systemd.JournaldSocket
	case logText:
		to.Format = systemd.FormatMessage
	case logJSON:
		to.Format = formatJSON
	}
	return controller.NewJournal(to)
}

func suitable(stderr *os.File) string {
	switch {
	case systemd.StderrIsJournald():
		return logJournal
	case render.IsTerminal(stderr):
		return logText
	}
	return logFields
}

// formatJSON formats an entry as 'hapressure events --json' does, with its level.
func formatJSON(at time.Time, e systemd.Entry) string {
	shape := journalctl.JSON(at, e)
	shape["level"] = systemd.LevelOf(e.Priority)
	b, err := json.Marshal(shape)
	if err != nil {
		return systemd.FormatFields(at, e) // cannot happen: there are only texts and numbers
	}
	return string(b) + "\n"
}

// closeJournal waits at most two seconds for a journald that hangs to take the last
// entries.
func closeJournal(j *systemd.Journal) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	j.Close(ctx)
}
