package systemd

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// write writes an entry to journald or, where that does not take it, as a line. An error means that it is lost.
func (j *Journal) write(e told) error {
	fields := map[string]string{}
	maps.Copy(fields, e.Fields)
	if e.leftOut > 0 {
		fields["HAPRESSURE_LEFT_OUT"] = strconv.Itoa(e.leftOut)
		e.Message += fmt.Sprintf(" (entries left out before this one: %d)", e.leftOut)
	}
	if j.socket != "" {
		err := j.toJournald(native(e.Entry, fields))
		if err == nil {
			return nil
		}
		fields["JOURNAL_ERROR"] = err.Error()
	}
	_, err := io.WriteString(j.stderr, line(e.at, e.Message, fields))
	return err
}

// toJournald waits for as long as journald's socket is full. That of go-systemd's journal.Send is not connected, so the kernel does not
// tell it when there is room: it would try in a loop, which takes a whole CPU until journald goes on.
func (j *Journal) toJournald(entry []byte) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write(entry)
	return err
}

// native is an entry in journald's protocol: of each field its name, the length of its value, its value
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
func native(e Entry, fields map[string]string) (b []byte) {
	all := map[string]string{
		"MESSAGE": e.Message, "MESSAGE_ID": e.MessageID, "SYSLOG_IDENTIFIER": Identifier, "PRIORITY": strconv.Itoa(cmp.Or(e.Priority, 6)),
	}
	maps.Copy(all, fields)
	// By these "journalctl -u haproxy" shows what we say of haproxy.service (systemd.journal-fields(7)). From the pid journald finds the
	// unit by itself, but not once the worker has ended.
	if pid := fields[fieldWorkerPID]; pid != "" {
		all["OBJECT_PID"] = pid
	}
	if unit := fields[fieldTarget]; unit != "" && unit[0] != '/' {
		all["OBJECT_SYSTEMD_UNIT"] = unit
	}
	for name, value := range all {
		b = binary.LittleEndian.AppendUint64(append(b, name+"\n"...), uint64(len(value)))
		b = append(b, value+"\n"...)
	}
	return b
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
