package systemd

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseEntry parses an entry as "journalctl --output=json --all" prints it, one in a
// line, and returns when journald received it:
//
//	{"MESSAGE":"hello","MESSAGE_ID":"1eb3","X_A":"b","__REALTIME_TIMESTAMP":"179541730"}
//
// Of the fields it returns those whose names begin with prefix. It leaves out the
// priority.
func ParseEntry(line []byte, prefix string) (time.Time, Entry, error) {
	var all map[string]value
	if err := json.Unmarshal(line, &all); err != nil {
		return time.Time{}, Entry{}, fmt.Errorf("parsing the journal entry %.80q: %w", line, err)
	}
	usec, err := strconv.ParseInt(string(all["__REALTIME_TIMESTAMP"]), 10, 64)
	if err != nil {
		err = fmt.Errorf("parsing the time of the journal entry %.80q: %w", line, err)
		return time.Time{}, Entry{}, err
	}
	e := Entry{
		MessageID: string(all["MESSAGE_ID"]), Message: string(all["MESSAGE"]),
		Fields: map[string]string{},
	}
	e.Priority, _ = strconv.Atoi(string(all["PRIORITY"])) // 0 if there is none
	for name, v := range all {
		if strings.HasPrefix(name, prefix) {
			e.Fields[name] = string(v)
		}
	}
	return time.UnixMicro(usec), e, nil
}

// value is the value of a field: a string, or an array of bytes if it is not printable
// text. If the entry has the field several times it is an array of these, of which the
// first counts (journalctl(1), --output=json).
type value string

func (v *value) UnmarshalJSON(text []byte) error {
	var bytes []uint8
	var several []value
	if text[0] != '[' {
		return json.Unmarshal(text, (*string)(v)) // null, a value too large without --all, is ""
	} else if json.Unmarshal(text, &bytes) == nil {
		*v = value(bytes)
	} else if err := json.Unmarshal(text, &several); err != nil {
		return err
	} else {
		*v = several[0]
	}
	return nil
}
