package controller

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hapressure/policy"
	"hapressure/policy/record"
	"hapressure/policy/replay"
	"hapressure/systemd"
	"hapressure/tests/haproxytest"
)

// replayed plays the recordings in a folder and returns what was given in each.
func replayed(t *testing.T, dir string) (given []map[string]int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%d recordings, %v", len(names), err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := record.NewReader(bytes.NewReader(b))
		run := replay.New(name, nil)
		for err == nil {
			var e record.Event
			if e, err = r.Next(); err == nil {
				err = run.Play(e)
			}
		}
		if err != io.EOF {
			t.Fatalf("%s: %v", name, err)
		}
		if run.Differs != nil {
			t.Errorf("%s: %v", name, run.Differs)
		}
		given = append(given, run.Given())
	}
	return given
}

// What a controller did to a real HAProxy replays exactly, each recording by itself: the first is as of a daemon that was killed, with
// the last line of it cut off.
func TestRecordingReplaysExactly(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, map[string]string{"memory.max": "1000000000\n", "memory.current": "100000000\n"})
	dir := t.TempDir()
	text := `version: 1
tiers:
  - name: purge
    enter: {any: [{usage: {above: 70%}}, {events: {high: 1, window: 2s}}, {pressure: {some: 5%, window: 3s}}]}
    leave: {usage: {below: 60%}, for: 1s}
    actions: [purge-ssl-cache: {}]
  - name: end
    enter: {usage: {above: 90%}}
    leave: {usage: {below: 80%}}
    settle: 0s
    actions: [hard-stop-after: {limit: 1s, floor: 1s, spread: 100ms}, terminate-oldest: {grace: 10s, settle: 0s, keep: 1}]
`
	c, _ := w.guardWith(text, Config{Record: func(string) io.WriteCloser { return NewFile(dir, 4096, 16<<20) }, RecordSize: 4096})
	w.journal.wait(t, "the target", 1, kind(systemd.TargetFound))
	for range 3 {
		w.reload()
	}
	w.tree.Write(group, "memory.current", "800000000\n")
	w.journal.wait(t, "purges", 3, action(policy.PurgeSSLCache))
	c.SetPolicy(decode(t, strings.Replace(text, ", {pressure: {some: 5%, window: 3s}}", "", 1)), "")
	w.tree.Write(group, "memory.current", "950000000\n")
	w.journal.wait(t, "the end of a worker", 1, func(e systemd.Entry) bool {
		return action(policy.HardStopAfter)(e) || action(policy.TerminateOldest)(e)
	})
	w.tree.Write(group, "memory.current", "100000000\n")
	w.journal.wait(t, "the way down", 3, kind(systemd.TierChanged))
	w.Eventually("two recordings", func() error {
		if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) < 2 {
			return errors.New("there are fewer")
		}
		return nil
	})
	purges, ends := 0, 0
	for _, given := range replayed(t, dir) { // while it is still being recorded
		purges += given[policy.PurgeSSLCache]
		ends += given[policy.HardStopAfter] + given[policy.TerminateOldest]
	}
	if purges != 3 || ends == 0 {
		t.Errorf("%d purges and %d ends of workers were recorded", purges, ends)
	}
}

// The recordings of a target stay within their bound, and the newest are kept.
func TestFilesAreBounded(t *testing.T) {
	const size, max = 100 << 10, 2 << 20
	dir := filepath.Join(t.TempDir(), "a", "b")
	var last string
	for i := range 50 {
		f := NewFile(dir, size, max)
		last = strings.Repeat(string(rune('a'+i%26)), size)
		if _, err := f.Write([]byte(last)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			if info, ierr := e.Info(); ierr == nil {
				total += info.Size()
			}
		}
		if err != nil || total > max {
			t.Fatalf("%d bytes in %d files, %v", total, len(entries), err)
		}
		if i == 49 {
			b, err := os.ReadFile(filepath.Join(dir, entries[len(entries)-1].Name()))
			if err != nil || string(b) != last || len(entries) < (max-size-record.MaxLine)/size {
				t.Errorf("%d files are left, %v", len(entries), err)
			}
		}
	}
}

// full takes some writes and then none.
type full struct{ room *int }

func (f full) Write(b []byte) (int, error) {
	if *f.room--; *f.room < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(b), nil
}
func (full) Close() error { return nil }

// A recording that cannot be written is told once, and the guard goes on.
func TestFullDiskStopsNothing(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	room := 2
	w.guardWith(purgeAlways, Config{Record: func(string) io.WriteCloser { return full{&room} }, RecordSize: 1 << 20})
	for i := range 2 {
		w.reload()
		w.journal.wait(t, "a purge", i+1, action(policy.PurgeSSLCache))
	}
	told := w.journal.all(func(e systemd.Entry) bool { return e.Fields["HAPRESSURE_SENSOR"] == "recording" })
	if len(told) != 1 || !slices.ContainsFunc(told, func(e systemd.Entry) bool { return strings.Contains(e.Message, "no space left") }) {
		t.Errorf("it was told %d times: %v", len(told), told)
	}
}
