package systemd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

const anID = "1eb33107bf134766876dbbac6f6d36de"

var entry = Entry{
	MessageID: anID,
	Message:   "tier purge\nentered",
	Priority:  5,
	Fields:    map[string]string{"TIER": "purge", "WHY": `usage 83% > 70%`, "FROM": ""},
}

const plain = ` tier purge entered FROM="" TIER=purge WHY="usage 83% > 70%"`

// newJournal returns a journal that writes to a socket, or lines to stderr.
func newJournal(stderr io.Writer, socket string) *Journal {
	return NewJournal(Sink{socket, stderr, FormatFields}, "program", "LEFT_OUT")
}

// closed waits until all is written.
func closed(t *testing.T, j *Journal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if j.Close(ctx); ctx.Err() != nil {
		t.Fatal("the journal does not end")
	}
}

func TestFormats(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	warning := Entry{Message: "no \x1b[31m", Priority: 4}
	failure := Entry{Message: "x", Priority: 3}
	for want, got := range map[string]string{
		"2026-01-02T15:04:05Z" + plain + "\n":          FormatFields(at, entry),
		"2026-01-02 15:04:05 tier purge\n  entered\n":  FormatMessage(at, entry),
		"2026-01-02 15:04:05 warning: no \ufffd[31m\n": FormatMessage(at, warning),
		"2026-01-02 15:04:05 error: x\n":               FormatMessage(at, failure),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A standard error that was redirected is not journald's, even within a unit.
func TestStderrIsNotJournald(t *testing.T) {
	for _, stream := range []string{"", "1:1", "nonsense"} {
		t.Setenv("JOURNAL_STREAM", stream)
		if StderrIsJournald() {
			t.Errorf("JOURNAL_STREAM=%s is taken for this standard error", stream)
		}
	}
}

// flaky cannot write the first time.
type flaky struct {
	text   string
	failed bool
}

func (f *flaky) Write(b []byte) (int, error) {
	if !f.failed {
		f.failed = true
		return 0, io.ErrClosedPipe
	}
	f.text += string(b)
	return len(b), nil
}

func TestLostEntryIsTold(t *testing.T) {
	var out flaky
	j := newJournal(&out, "")
	j.Send(Entry{Message: "first"})
	for late := time.Now().Add(deadline); j.lost() == 0; runtime.Gosched() { // until it was tried
		if time.Now().After(late) {
			t.Fatal("it is not counted")
		}
	}
	j.Send(Entry{Message: "second"})
	j.Send(Entry{Message: "third"})
	closed(t, j)
	if got := out.text; !strings.Contains(got, "second (entries left out before this one: 1) LEFT_OUT=1\n") ||
		!strings.HasSuffix(got, "third\n") {
		t.Errorf("wrote %q", got)
	}
}

func (j *Journal) lost() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.limits.lost
}

// journald is a socket in its place.
func journald(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(deadline))
	return conn, path
}

// datagram reads an entry as journald does.
func datagram(t *testing.T, conn *net.UnixConn) map[string]string {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for b = b[:n]; len(b) > 0; {
		name, rest, _ := bytes.Cut(b, []byte("\n"))
		size := binary.LittleEndian.Uint64(rest)
		fields[string(name)] = string(rest[8 : 8+size])
		b = rest[8+size+1:]
	}
	return fields
}

func TestNativeEntry(t *testing.T) {
	tests := []struct {
		name       string
		entry      Entry
		want       map[string]string
		beside     string // a field that must not be there
		wantFields int
	}{
		{"fields", entry, map[string]string{
			"MESSAGE": "tier purge\nentered", "MESSAGE_ID": anID, "SYSLOG_IDENTIFIER": "program", "PRIORITY": "5",
			"TIER": "purge", "WHY": "usage 83% > 70%", "FROM": "",
		}, "OBJECT_PID", 7},
		{"no priority", Entry{Message: "x"}, map[string]string{"PRIORITY": "6"}, "OBJECT_SYSTEMD_UNIT", 4},
		{"about a process of a unit", Entry{Message: "x", Unit: "haproxy.service", PID: "42"},
			map[string]string{"OBJECT_SYSTEMD_UNIT": "haproxy.service", "OBJECT_PID": "42"}, "", 6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, path := journald(t)
			j := newJournal(io.Discard, path)
			if err := j.Send(tt.entry); err != nil {
				t.Fatal(err)
			}
			got := datagram(t, conn)
			for name, value := range tt.want {
				if got[name] != value {
					t.Errorf("%s is %q, want %q", name, got[name], value)
				}
			}
			if _, there := got[tt.beside]; there || len(got) != tt.wantFields {
				t.Errorf("sent %q; want %d fields without %q", got, tt.wantFields, tt.beside)
			}
			closed(t, j)
		})
	}
}

func TestJournaldAway(t *testing.T) {
	var out bytes.Buffer
	j := newJournal(&out, filepath.Join(t.TempDir(), "socket"))
	j.Send(entry)
	closed(t, j)
	if !strings.Contains(out.String(), `JOURNAL_ERROR="dial unixgram `) || !strings.Contains(out.String(), "tier purge entered") {
		t.Errorf("wrote %q, want a line that says why", out.String())
	}
	if len(entry.Fields) != 3 {
		t.Errorf("the caller's fields were changed: %v", entry.Fields)
	}
}

// If journald does not read its socket, no sender waits. When it continues it gets what
// was queued, in order, and with the next entry how many were lost.
func TestJournaldHangs(t *testing.T) {
	conn, path := journald(t)
	j := newJournal(io.Discard, path)
	var taken []string
	lost := 0
	for i := 0; lost < 3; i++ {
		if i > 1<<16 {
			t.Fatal("the queue has no bound")
		}
		n := strconv.Itoa(i)
		if err := j.Send(Entry{Fields: map[string]string{"N": n}}); err == nil {
			taken = append(taken, n)
		} else if errors.Is(err, ErrLost) {
			lost++
		} else {
			t.Fatal(err)
		}
	}
	reported := 0
	receive := func(n string) {
		got := datagram(t, conn)
		if got["N"] != n {
			t.Fatalf("entry %q came when %q was to come", got["N"], n)
		}
		leftOut, _ := strconv.Atoi(got["LEFT_OUT"])
		reported += leftOut
	}
	for _, n := range taken {
		receive(n)
	}
	if err := j.Send(Entry{Fields: map[string]string{"N": "again"}}); err != nil {
		t.Fatal(err)
	}
	if receive("again"); reported != lost {
		t.Errorf("%d lost entries are reported, want %d", reported, lost)
	}
	closed(t, j)
	if err := j.Send(entry); !errors.Is(err, ErrLost) {
		t.Errorf("after the end: %v, want %v", err, ErrLost)
	}
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	_, path := journald(t)
	j := newJournal(io.Discard, path)
	for j.Send(entry) == nil {
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	j.Close(ctx)
}

// One entry is one line, whatever is in it.
func FuzzLine(f *testing.F) {
	f.Add("tier purge entered", "usage 83% > 70%")
	f.Add("two\nlines", "a\nb\x00\"")
	f.Fuzz(func(t *testing.T, message, value string) {
		got := FormatFields(time.Unix(0, 0), Entry{Message: message,
			Fields: map[string]string{"WHY": value}})
		if strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") {
			t.Errorf("%q is not one line", got)
		}
	})
}
