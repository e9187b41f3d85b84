package controller

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hapressure/policy"
	"hapressure/policy/record"
	"hapressure/policy/replay"
	"hapressure/systemd"
	"hapressure/tests/cgrouptest"
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

// What a controller did to a real HAProxy replays exactly, each recording by itself: the
// first is as of a daemon that was killed, with the last line of it cut off.
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
	w.journal.wait(t, "the target", 1, kind(TargetFound))
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
	w.journal.wait(t, "the way down", 3, kind(TierChanged))
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

// A recording that cannot be written is reported once, as that and not as a missing
// sensor, and the guard continues.
func TestFullDiskStopsNothing(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	room := 2
	c, _ := w.guardWith(purgeAlways, Config{Record: func(string) io.WriteCloser { return full{&room} }, RecordSize: 1 << 20})
	for i := range 2 {
		w.reload()
		w.journal.wait(t, "a purge", i+1, action(policy.PurgeSSLCache))
	}
	const want = "Recording of haproxy.service stopped: no space left on device; retrying in 1 min"
	if got := w.journal.all(kind(StorageFailed)); len(got) != 1 || got[0].Message != want {
		t.Errorf("%d entries %v, want one that says %q", len(got), got, want)
	}
	w.noSensorMissing(t, c, "recording")
}

// noSensorMissing fails if a store was reported as a sensor, in the journal, the metrics
// or the status.
func (w *world) noSensorMissing(t *testing.T, c *Controller, store string) {
	t.Helper()
	for _, e := range w.journal.all(kind(SensorMissing)) {
		if strings.Contains(e.Message, store) {
			t.Errorf("the journal has %q", e.Message)
		}
	}
	for key := range values(scrape(t, c)) {
		if strings.HasPrefix(key, "hapressure_sensor_missing") && strings.Contains(key, store) {
			t.Errorf("the metrics have %s", key)
		}
	}
	for _, target := range c.State(t.Context()).Targets {
		if why, missing := target.Missing[store]; missing {
			t.Errorf("the status has the missing sensor %s: %s", store, why)
		}
	}
}

// State that cannot be written, or not be restored, is reported as that.
func TestStateThatCannotBeStored(t *testing.T) {
	w := &world{t: t, tree: cgrouptest.New(t), journal: newRecorder(), units: &fakeUnits{changes: make(chan string)}}
	w.tree.Group("/lb", nil)
	const text = "version: 1\ntargets: [{cgroup: lb}]\ntiers: [{name: hold, enter: always, " +
		"actions: [trim-pools: {}]}]\n"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "%2Flb.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop := w.guardWith(text, Config{StateDir: dir})
	e := w.journal.wait(t, "that it is not restored", 1, kind(StorageFailed))[0]
	if !strings.HasPrefix(e.Message, "State of /lb is not restored: "+
		"reading ") || e.Fields["HAPRESSURE_STORE"] != "state" {
		t.Errorf("%q %v", e.Message, e.Fields)
	}
	stop()
	c, _ := w.guardWith(text, Config{StateDir: filepath.Join(dir, "none")})
	e = w.journal.wait(t, "that it is not persisted", 2, kind(StorageFailed))[1]
	if !strings.HasPrefix(e.Message, "State of /lb is not persisted: "+
		"open ") || !strings.HasSuffix(e.Message, "retrying at the next change") {
		t.Errorf("%q", e.Message)
	}
	w.noSensorMissing(t, c, "state")
}
