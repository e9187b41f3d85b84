package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"hapressure/cmd/hapressure/internal/statustest"
)

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

const journalOfLevels = `exec /bin/cat <<'END'
{"__REALTIME_TIMESTAMP":"1795417306378705","MESSAGE_ID":"1eb33107bf134766876dbbac6f6d36de","PRIORITY":"5","MESSAGE":"Entering tier purge of haproxy.service: reload-room 0.4 < 1 under memory.max; not met: usage 84%"}
{"__REALTIME_TIMESTAMP":"1795417307000000","MESSAGE_ID":"60c4c3e9e6624aa29913ec7e5c5f97d4","PRIORITY":"4","MESSAGE":"purge-ssl-cache failed"}
{"__REALTIME_TIMESTAMP":"1795417308000000","MESSAGE_ID":"60c4c3e9e6624aa29913ec7e5c5f97d4","PRIORITY":"4","MESSAGE":"again"}
END
`

// Text on a terminal of 80 columns has colours and no longer lines; text elsewhere and
// JSON has neither colours nor cuts.
func TestTextFitsTheScreen(t *testing.T) {
	bin := program(t)
	socket := fakeDaemon(t, statustest.Status(statustest.Storm("haproxy.service", 12)))
	fakeJournalctl(t, journalOfLevels)
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	t.Setenv("TZ", "UTC")
	for _, tt := range []struct {
		args       []string
		first, has string // the summary, and a line in colour
	}{
		{[]string{"status", "--socket", socket}, "1 target: tier 2 of 3, shorten, ",
			"\x1b[33mstopping\x1b[0m"},
		{[]string{"events"}, "3 entries since Nov 23 07:01:46: 2 failed, 1 tier-changed",
			"\x1b[33mNov 23 07:01:47 purge-ssl-cache failed\x1b[0m"},
	} {
		out := onTerminal(t, exec.Command(bin, tt.args...), "", nil)
		if !strings.HasPrefix(escapes.ReplaceAllString(out, ""), tt.first) ||
			!strings.Contains(out, tt.has) {
			t.Errorf("%q wrote %q", tt.args, out)
		}
		for line := range strings.Lines(escapes.ReplaceAllString(out, "")) {
			if n := len([]rune(strings.TrimSpace(line))); n > 80 {
				t.Errorf("%q has a line of %d columns: %s", tt.args, n, line)
			}
		}
		for _, more := range [][]string{{"--color", "never"}, {"--json"},
			{"--json", "--color", "always"}} {
			out := onTerminal(t, exec.Command(bin, append(tt.args, more...)...), "", nil)
			if strings.Contains(out, "\x1b") {
				t.Errorf("%q with %q wrote %q", tt.args, more, out)
			}
		}
		without := exec.Command(bin, tt.args...)
		without.Env = append(os.Environ(), "NO_COLOR=1")
		if out := onTerminal(t, without, "", nil); strings.Contains(out, "\x1b") {
			t.Errorf("%q with NO_COLOR wrote %q", tt.args, out)
		}
		if _, out := call(t, bin, tt.args...); strings.ContainsAny(out, "\x1b…") {
			t.Errorf("%q wrote into a pipe: %q", tt.args, out)
		}
		if _, out := call(t, bin, append(tt.args, "--color=always")...); !strings.Contains(out,
			"\x1b[33m") {
			t.Errorf("%q with --color=always wrote into a pipe: %q", tt.args, out)
		}
	}
	out := onTerminal(t, exec.Command(bin, "events"), "", nil)
	if !strings.Contains(out, "1 und…\r\n") || !strings.Contains(out, "1 entry cut. --full") {
		t.Errorf("events wrote %q", out)
	}
	out = onTerminal(t, exec.Command(bin, "events", "--full"), "", nil)
	if !strings.Contains(out, "usage 84%\r\n") || !strings.HasPrefix(out, "\x1b[33m3 entries") {
		t.Errorf("events --full wrote %q", out)
	}
}
