package systemd

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"

	"github.com/coreos/go-systemd/v22/journal"
)

// A Sink is where a [Journal] writes entries: to journald with all their fields, or as
// lines of text if there is no journald or it fails.
type Sink struct {
	Socket string // journald's; "" = none
	Lines  io.Writer
	Format Formatter // of an entry in Lines
}

// JournaldSocket is where journald takes entries.
const JournaldSocket = "/run/systemd/journal/socket"

// StderrIsJournald reports whether the standard error of this process goes to journald.
// If it was redirected, also within a unit, it does not.
func StderrIsJournald() bool {
	native, err := journal.StderrIsJournalStream()
	return native && err == nil // an error means a malformed JOURNAL_STREAM
}

// writer writes entries to journald or as lines of text.
type writer struct {
	identifier string // SYSLOG_IDENTIFIER of every entry
	leftOut    string // name of the field with the number of entries left out before an entry
	Sink
}

// write writes an entry to journald or, if that fails, as a line. After an error the
// entry is lost.
func (w *writer) write(e queued) error {
	fields := map[string]string{}
	maps.Copy(fields, e.Fields)
	if e.leftOut > 0 {
		fields[w.leftOut] = strconv.Itoa(e.leftOut)
		e.Message += fmt.Sprintf(" (entries left out before this one: %d)", e.leftOut)
	}
	if w.Socket != "" {
		err := w.toJournald(w.native(e.Entry, fields))
		if err == nil {
			return nil
		}
		fields["JOURNAL_ERROR"] = err.Error()
	}
	e.Fields = fields
	_, err := io.WriteString(w.Lines, w.Format(e.at, e.Entry))
	return err
}

// toJournald waits for as long as journald's socket is full. The socket of go-systemd's
// journal.Send is not connected, so the kernel does not notify it of room: it retries in
// a loop, which takes a whole CPU until journald continues.
func (w *writer) toJournald(entry []byte) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: w.Socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write(entry)
	return err
}

// native encodes an entry in journald's protocol: of each field its name, the length of
// its value and its value (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
func (w *writer) native(e Entry, fields map[string]string) (b []byte) {
	all := map[string]string{
		"MESSAGE": e.Message, "MESSAGE_ID": e.MessageID, "SYSLOG_IDENTIFIER": w.identifier,
		"PRIORITY": strconv.Itoa(cmp.Or(e.Priority, 6)),
	}
	for name, value := range map[string]string{"OBJECT_SYSTEMD_UNIT": e.Unit, "OBJECT_PID": e.PID} {
		if value != "" {
			all[name] = value
		}
	}
	maps.Copy(all, fields)
	for name, value := range all {
		b = binary.LittleEndian.AppendUint64(append(b, name+"\n"...), uint64(len(value)))
		b = append(b, value+"\n"...)
	}
	return b
}
