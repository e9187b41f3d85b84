package systemd

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

var entry = Entry{
	MessageID: TierChanged,
	Message:   "tier purge\nentered",
	Priority:  5,
	Fields:    map[string]string{"TIER": "purge", "WHY": `usage 83% > 70%`, "FROM": ""},
}

const plain = ` tier purge entered FROM="" TIER=purge WHY="usage 83% > 70%"`

func TestLines(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "") // standard error is a terminal's or a file's
	var out bytes.Buffer
	if err := NewJournal(&out).Send(entry); err != nil {
		t.Fatal(err)
	}
	stamp, rest, _ := strings.Cut(out.String(), " ")
	if _, err := time.Parse(time.RFC3339, stamp); err != nil || " "+rest != plain+"\n" {
		t.Errorf("wrote %q (%v), want a time and %q", out.String(), err, plain)
	}

	t.Setenv("JOURNAL_STREAM", "1:1") // of another process: ours was redirected
	out.Reset()
	if err := NewJournal(&out).Send(entry); err != nil || out.Len() == 0 {
		t.Errorf("redirected: wrote %q, %v; want a line", out.String(), err)
	}

	if err := NewJournal(broken{}).Send(entry); !errors.Is(err, errBroken) {
		t.Errorf("to a broken standard error: %v, want its error", err)
	}
}

var errBroken = errors.New("broken pipe")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestNativeEntry(t *testing.T) {
	var out bytes.Buffer
	var gotFields map[string]string
	var gotPriority journal.Priority
	j := &Journal{stderr: &out, native: true, send: func(_ string, p journal.Priority, fields map[string]string) error {
		gotPriority, gotFields = p, fields
		return nil
	}}
	if err := j.Send(entry); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"MESSAGE_ID": TierChanged, "SYSLOG_IDENTIFIER": "hapressure",
		"TIER": "purge", "WHY": "usage 83% > 70%", "FROM": "",
	}
	if !maps.Equal(gotFields, want) || gotPriority != journal.PriNotice || out.Len() != 0 {
		t.Errorf("sent %v at %d and %q to standard error; want %v at 5 and nothing", gotFields, gotPriority, out.String(), want)
	}
	if err := j.Send(Entry{Message: "x"}); err != nil || gotPriority != journal.PriInfo {
		t.Errorf("no priority: sent at %d, %v; want 6", gotPriority, err)
	}

	j.send = func(string, journal.Priority, map[string]string) error { return errBroken }
	if err := j.Send(entry); err != nil || !strings.Contains(out.String(), `JOURNAL_ERROR="broken pipe"`) {
		t.Errorf("journald away: wrote %q, %v; want a line that says so", out.String(), err)
	}
	if len(entry.Fields) != 3 {
		t.Errorf("the caller's fields were changed: %v", entry.Fields)
	}
}

func TestMessageIDs(t *testing.T) {
	seen := make(map[string]bool)
	for _, id := range []string{TierChanged, Action, Refused, Failed, TargetFound, TargetLost,
		SensorMissing, HookFailed, PolicyLoaded, PolicyRejected, Started, Stopped} {
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
			t.Errorf("message id %q is not 128 bits in hex of its own", id)
		}
		seen[id] = true
	}
}

// One entry is one line, whatever is in it.
func FuzzLine(f *testing.F) {
	f.Add("tier purge entered", "usage 83% > 70%")
	f.Add("two\nlines", "a\nb\x00\"")
	f.Fuzz(func(t *testing.T, message, value string) {
		got := line(time.Unix(0, 0), message, map[string]string{"WHY": value})
		if strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") {
			t.Errorf("%q is not one line", got)
		}
	})
}
