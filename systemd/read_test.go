package systemd

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// Printed by systemd 252 and shortened: a repeated field, one with a control character,
// one that is not UTF-8, and one that would be too large without --all.
const journalctlSample = `{"_CMDLINE":"/usr/bin/python3 -","HAPRESSURE_TARGET":["a","b"],"OBJECT_UID":"0","HAPRESSURE_NAME":null,` +
	`"MESSAGE_ID":"99f9166ac5dd452cbffeda1ae8d327f2","__REALTIME_TIMESTAMP":"1795417306378705","OBJECT_PID":"1","_PID":"22696",` +
	`"HAPRESSURE_REASON":[97,1,10],"OBJECT_SYSTEMD_UNIT":"haproxy.service","MESSAGE":"hello","PRIORITY":"5","_UID":"0",` +
	`"SYSLOG_IDENTIFIER":"hapressure","HAPRESSURE_ERROR":[255,254,32,98,97,100]}`

func TestParseEntry(t *testing.T) {
	at, e, err := ParseEntry([]byte(journalctlSample), "HAPRESSURE_")
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 11, 23, 7, 1, 46, 378705000, time.UTC); !at.Equal(want) || e.MessageID != "99f9166ac5dd452cbffeda1ae8d327f2" || e.Message != "hello" {
		t.Errorf("at %v: %+v; want %v", at.UTC(), e, want)
	}
	want := map[string]string{"HAPRESSURE_TARGET": "a", "HAPRESSURE_NAME": "", "HAPRESSURE_REASON": "a\x01\n", "HAPRESSURE_ERROR": "\xff\xfe bad"}
	if !maps.Equal(e.Fields, want) {
		t.Errorf("fields are %q, want %q", e.Fields, want)
	}
	for bad, says := range map[string]string{
		``:                               "parsing the journal entry",
		`-- No entries --`:               "parsing the journal entry",
		`{"MESSAGE":1}`:                  "parsing the journal entry",
		`{"MESSAGE":[256]}`:              "parsing the journal entry",
		`{"MESSAGE":"no time"}`:          "parsing the time",
		`{"__REALTIME_TIMESTAMP":"now"}`: "parsing the time",
	} {
		if _, _, err := ParseEntry([]byte(bad), "HAPRESSURE_"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", bad, err, says)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte(journalctlSample))
	f.Add([]byte(`{"HAPRESSURE_TIER":[[112,1],"purge",null],"__REALTIME_TIMESTAMP":"0","MESSAGE":[]}`))
	f.Add([]byte(`{"HAPRESSURE_TIER":[[],[[]]],"__REALTIME_TIMESTAMP":"-1"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		_, e, err := ParseEntry(line, "HAPRESSURE_")
		if err != nil {
			return
		}
		for name := range e.Fields {
			if !strings.HasPrefix(name, "HAPRESSURE_") {
				t.Errorf("the field %q does not have the prefix", name)
			}
		}
	})
}
