package systemd

import "time"

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

// queued is an entry that waits to be written.
type queued struct {
	Entry
	at      time.Time
	leftOut int // entries that should have come before it
}
