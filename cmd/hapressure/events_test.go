package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hapressure/controller"
	"hapressure/systemd"
)

// fakeJournalctl makes a program of that name the only one that there is, and returns the
// file with its arguments, one a line.
func fakeJournalctl(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	args := filepath.Join(dir, "args")
	script = "#!/bin/sh\nprintf '%s\\n' \"$@\" >" + args + "\n" + script
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return args
}

const journalLines = `cat <<'END'
{"__REALTIME_TIMESTAMP":"1795417306378705","MESSAGE_ID":"1eb33107bf134766876dbbac6f6d36de","MESSAGE":"Entering tier purge\nof \u001b[31mx","HAPRESSURE_TIER":"purge","HAPRESSURE_TARGET":"7","HAPRESSURE_USAGE_BYTES":"943718400","HAPRESSURE_LIMIT_BYTES":"many"}
{"__REALTIME_TIMESTAMP":"1795417307000000","MESSAGE_ID":"99f9166ac5dd452cbffeda1ae8d327f2","MESSAGE":"done","HAPRESSURE_WORKER_PID":["42","43"],"HAPRESSURE_KIND":"mine"}
-- No entries --
END
`

func TestEvents(t *testing.T) {
	bin := program(t)
	args := fakeJournalctl(t, strings.ReplaceAll(journalLines, "cat", "/bin/cat"))
	t.Setenv("TZ", "UTC")
	code, out := call(t, bin, "events", "--target", "--follow", "--target", "a b", "--target",
		"system.slice/lb", "--result", "done", "--since", "-1h", "-n", "5", "-f")
	if want := "2026-11-23T07:01:46Z Entering tier purge of  [31mx\n2026-11-23T07:01:47Z " +
		"done\n"; code != 0 || out != want {
		t.Errorf("exit %d with %q, want %q", code, out, want)
	}
	got, err := os.ReadFile(args)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"--all", "--follow", "--lines=5", "--output=json", "--since=-1h",
		"HAPRESSURE_RESULT=done", "HAPRESSURE_TARGET=--follow",
		"HAPRESSURE_TARGET=/system.slice/lb", "HAPRESSURE_TARGET=a b",
		"SYSLOG_IDENTIFIER=hapressure", "_UID=0"}
	for id := range controller.Kinds() {
		want = append(want, "MESSAGE_ID="+id)
	}
	slices.Sort(want)
	if got := slices.Sorted(strings.Lines(string(got))); strings.Join(got, "") != strings.Join(want,
		"\n")+"\n" {
		t.Errorf("journalctl was given %q, want %q", got, want)
	}

	code, out = call(t, bin, "events", "--json")
	var shapes []map[string]any
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var shape map[string]any
		if err := d.Decode(&shape); err != nil {
			t.Fatal(err)
		}
		shapes = append(shapes, shape)
	}
	wantShapes := []map[string]any{
		{"time": "2026-11-23T07:01:46.378705Z", "kind": "tier-changed",
			"message": "Entering tier purge\nof \x1b[31mx",
			"tier":    "purge", "target": "7", "usage_bytes": 943718400.0, "limit_bytes": "many"},
		{"time": "2026-11-23T07:01:47Z", "kind": "action", "message": "done", "worker_pid": 42.0},
	}
	if code != 0 || !reflect.DeepEqual(shapes, wantShapes) || strings.Count(out, "\n") != 2 {
		t.Errorf("exit %d with %s, want %v", code, out, wantShapes)
	}
}

// Each entry is shown as it comes, and Ctrl-C is no failure.
func TestEventsFollow(t *testing.T) {
	bin := program(t)
	fakeJournalctl(t, strings.ReplaceAll(journalLines, "cat", "/bin/cat")+"exec /bin/sleep 1000")
	cmd := exec.Command(bin, "events", "--follow")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 2 {
		if !lines.Scan() {
			t.Fatal("the entries are not shown")
		}
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil { // as a terminal does
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

// journaldScript starts a journald, in a mount namespace of its own, and ends it after
// "$@".
const journaldScript = `set -eu
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nReadKMsg=no\n' >/run/systemd/journald.conf.d/test.conf
/lib/systemd/systemd-journald >/dev/null 2>&1 & journald=$!
trap 'kill $journald; wait $journald || true' EXIT
until [ -S /run/systemd/journal/stdout ]; do sleep 0.1; done
"$@"
`

// What a Journal sends to a real journald is what events shows; and "journalctl -u
// haproxy" shows what was done to a worker, though it has ended. What another user logs
// under our name is not shown.
func TestEventsOfRealJournald(t *testing.T) {
	if step := os.Getenv("HAPRESSURE_EVENTS"); step != "" {
		inJournald(t, step)
		return
	}
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat("/lib/systemd/systemd-journald"); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-c", journaldScript, "sh", self,
		"-test.run=^TestEventsOfRealJournald$", "-test.v")
	cmd.Env = append(os.Environ(), "HAPRESSURE_EVENTS=read", "HAPRESSURE_BIN="+program(t),
		"SELF="+self)
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

func inJournald(t *testing.T, step string) {
	if step == "send" {
		j := controller.NewJournal(systemd.Sink{
			Socket: systemd.JournaldSocket, Lines: os.Stderr, Format: systemd.FormatFields})
		errs := []error{}
		for _, pid := range []string{"4194304", "1"} { // the first is none
			errs = append(errs, j.Send(systemd.Entry{MessageID: controller.Action.ID(),
				Message: "purge-ssl-cache on worker " + pid, Priority: 5,
				Unit: "haproxy.service", PID: pid,
				Fields: map[string]string{"HAPRESSURE_TARGET": "haproxy.service",
					"HAPRESSURE_WORKER_PID": pid, "HAPRESSURE_REASON": "two\nlines"}}))
		}
		errs = append(errs, j.Send(systemd.Entry{MessageID: controller.PolicyRejected.ID(),
			Message: strings.Repeat("x", 100_000)}))
		j.Close(t.Context())
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		return
	}
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "HAPRESSURE_EVENTS=send")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	// As systemd starts a service.
	run("systemd-cat", "sh", "-c", `JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$0" "$@"`, os.Getenv("SELF"), "-test.run=^TestEventsOfRealJournald$")
	run("sh", "-c", "printf 'MESSAGE=forged\\nMESSAGE_ID="+controller.Action.ID()+"\\nSYSLOG_IDENTIFIER=hapressure\\n' |"+
		"setpriv --reuid=65534 --clear-groups logger --journald")
	run("journalctl", "--sync")
	if got := run("journalctl", "--identifier=hapressure", "--output=cat",
		"--lines=1"); got != "forged\n" {
		t.Fatalf("the last entry under our name is %q", got)
	}
	bin := os.Getenv("HAPRESSURE_BIN")
	if got := run("journalctl", "--unit=haproxy",
		"--output=cat"); got != "purge-ssl-cache on worker 4194304\npurge-ssl-cache on worker 1\n" {
		t.Errorf("journalctl -u haproxy shows %q", got)
	}
	if got := run(bin, "events", "--target", "haproxy.service", "--json", "-n",
		"1"); !strings.Contains(got, `"reason":"two\nlines"`) ||
		!strings.Contains(got, `"worker_pid":1}`) || !strings.Contains(got,
		`"kind":"action","message":"purge-ssl-cache on worker 1"`) {
		t.Errorf("events of the target are %s", got)
	}
	if got := run(bin, "events"); strings.Count(got, "\n") != 3 || len(got) < 100_000 {
		t.Errorf("events are %q", got)
	}
	if got := run(bin, "events", "--target", "other.service"); got != "" {
		t.Errorf("events of another target are %q", got)
	}
	nobody := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", bin,
		"events")
	if out, err := nobody.CombinedOutput(); err == nil || !strings.Contains(string(out),
		"root and members of the group systemd-journal may read") {
		t.Errorf("another user sees %q, %v", out, err)
	}
}
