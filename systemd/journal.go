package systemd

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// Identifier is the SYSLOG_IDENTIFIER of every entry.
const Identifier = "hapressure"

// Each kind of entry has a MESSAGE_ID, by which journalctl finds it and the message catalog explains it. They never change.
const (
	// TierChanged: a target has entered or left a tier of the policy.
	TierChanged = "1eb33107bf134766876dbbac6f6d36de"
	// Action: something was done to a worker, and this came of it.
	Action = "99f9166ac5dd452cbffeda1ae8d327f2"
	// Refused: an action was due but not done, for it could not be proven safe.
	Refused = "352f0fbf000745c9ac4b2dcf45299f67"
	// Failed: an action was tried and did not succeed.
	Failed = "60c4c3e9e6624aa29913ec7e5c5f97d4"
	// TargetFound: a unit of the policy is running and is being watched.
	TargetFound = "d0b9d84b3bba4ba2854a313c02732ab8"
	// TargetLost: a watched unit has stopped or its cgroup was removed.
	TargetLost = "676def0cead1433c998ce9bf3c0a54c3"
	// SensorMissing: a reading cannot be had; the others go on without it.
	SensorMissing = "213f5ccdcaeb48cca2c0a254d38202ab"
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

// An Entry is one event for the journal; see systemd.journal-fields(7).
type Entry struct {
	MessageID string // one of the constants of this package
	Message   string
	Priority  int // as of syslog(3), 1 alert to 7 debug; 0 stands for 6, informational: an emergency is written to every terminal
	// Fields have names of at most 64 upper-case letters, digits and underscores; journald drops others silently.
	Fields map[string]string
}

// A Journal takes entries: to journald with all their fields where the daemon's standard error is journald's, else as lines of text.
type Journal struct {
	stderr io.Writer
	native bool
	send   func(string, journal.Priority, map[string]string) error // a field for tests
}

// NewJournal returns a journal that writes its lines, where it has to write lines, to stderr.
func NewJournal(stderr io.Writer) *Journal {
	// Whoever redirects standard error wants to read the entries there, also within a unit. An error means a malformed JOURNAL_STREAM:
	// not journald's.
	native, err := journal.StderrIsJournalStream()
	return &Journal{stderr: stderr, native: native && err == nil, send: journal.Send}
}

// Send writes one entry. Where journald does not take it, it goes to stderr as a line, so an error means that the entry is lost.
func (j *Journal) Send(e Entry) error {
	fields := make(map[string]string)
	maps.Copy(fields, e.Fields)
	if j.native {
		native := map[string]string{"SYSLOG_IDENTIFIER": Identifier, "MESSAGE_ID": e.MessageID}
		maps.Copy(native, e.Fields)
		err := j.send(e.Message, cmp.Or(journal.Priority(e.Priority), journal.PriInfo), native)
		if err == nil {
			return nil
		}
		fields["JOURNAL_ERROR"] = err.Error()
	}
	if _, err := io.WriteString(j.stderr, line(time.Now(), e.Message, fields)); err != nil {
		return fmt.Errorf("writing %q to standard error: %w", e.Message, err)
	}
	return nil
}

// line is an entry as one line of text:
//
//	2026-01-02T15:04:05Z tier purge entered TIER=purge WHY="usage 83% > 70%"
func line(now time.Time, message string, fields map[string]string) string {
	var b strings.Builder
	b.WriteString(now.Format(time.RFC3339) + " " + strings.ReplaceAll(message, "\n", " "))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fields[name]
		if value == "" || strings.ContainsFunc(value, needsQuotes) {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, " %s=%s", name, value)
	}
	return b.String() + "\n"
}

func needsQuotes(r rune) bool {
	return r <= ' ' || r == '"' || r == '=' || r == '\\' || !strconv.IsPrint(r)
}
