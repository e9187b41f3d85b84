package controller

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hapressure/policy"
)

func TestExcess(t *testing.T) {
	now := time.Now()
	file := func(target string, days int, size int64) storedFile {
		return storedFile{target, fmt.Sprintf("%s/%d", target, days), size, now.AddDate(0, 0, -days)}
	}
	bounds := leftoverBounds{age: 10 * 24 * time.Hour, targets: 2, bytes: 100}
	for name, tt := range map[string]struct {
		files []storedFile
		want  []string
	}{
		"nothing":             {nil, nil},
		"all within":          {[]storedFile{file("a", 1, 50), file("b", 2, 50)}, nil},
		"too old":             {[]storedFile{file("a", 1, 1), file("a", 11, 1)}, []string{"a/11"}},
		"written in time yet": {[]storedFile{file("a", -5, 1)}, nil},
		"too many " +
			"targets": {[]storedFile{file("a", 3, 1), file("b", 1, 1), file("c", 2, 1)}, []string{"a/3"}},
		"the newest " +
			"counts": {[]storedFile{file("a", 1, 1), file("a", 9, 1), file("b", 2, 1), file("c", 3, 1)}, []string{"c/3"}},
		"too many " +
			"bytes": {[]storedFile{file("a", 1, 60), file("a", 2, 60), file("b", 3, 1)}, []string{"a/2", "b/3"}},
		"one that is too large": {[]storedFile{file("a", 1, 101)}, []string{"a/1"}},
	} {
		var got []string
		for _, f := range bounds.excess(tt.files, now) {
			got = append(got, f.path)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q is over the bounds, want %q", name, got, tt.want)
		}
	}
}

// put writes a file of some age, with its folder.
func put(t *testing.T, age time.Duration, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	written := time.Now().Add(-age)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte("text"), 0o600),
		os.Chtimes(name, written, written)); err != nil {
		t.Fatal(err)
	}
	return name
}

func exist(names ...string) (n int) {
	for _, name := range names {
		if _, err := os.Lstat(name); err == nil {
			n++
		}
	}
	return n
}

const aRecording = "20260102T030405.000000Z.jsonl.gz"

// A hundred containers come and go: what they leave is bounded while the daemon runs, and
// what belongs to a target that is guarded stays, however old it is.
func TestLeftoversAreBounded(t *testing.T) {
	recordings, states := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var left, kept []string
		const month = 30 * 24 * time.Hour
		for i := range 100 {
			target, age := url.PathEscape(fmt.Sprintf("/machine.slice/c%d.scope", i)), time.Duration(i)*time.Minute
			left = append(left, put(t, age, recordings, target, aRecording), put(t, age, states, target+stateSuffix))
		}
		old := []string{put(t, month, recordings, "old.service", aRecording), put(t, month, states, "old.service.json"),
			put(t, month, states, "old.service.json.new")}
		kept = append(kept, put(t, month, recordings, "lb.service", aRecording), put(t, month, states, "lb.service.json"))
		c := New(Config{Policy: &policy.Policy{}, Journal: newRecorder(), StateDir: states, Recordings: Recordings{recordings, 1 << 20}})
		c.guards["lb.service"] = &guard{}
		go c.Run(t.Context())
		time.Sleep(sweepEvery)
		synctest.Wait()
		if n := exist(left...); n != 2*matchLimit {
			t.Errorf("%d files of targets that are gone are left, want %d", n, 2*matchLimit)
		}
		if exist(left[0], left[1]) != 2 {
			t.Error("the newest were removed")
		}
		if n := exist(append(old, filepath.Join(recordings, "old.service"))...); n != 0 {
			t.Errorf("%d files and folders of a target that has been gone for a month are left", n)
		}
		if n := exist(kept...); n != len(kept) {
			t.Errorf("%d of %d files of a guarded target are left", n, len(kept))
		}
	})
}

// Only what a guard wrote is removed: no other file, no other user's, and nothing behind
// a link.
func TestOnlyOurOwnFilesAreRemoved(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	const month = 30 * 24 * time.Hour
	mine := put(t, month, dir, "a.service", aRecording)
	kept := []string{
		put(t, month, dir, "a.service", "storm.jsonl.gz"),
		put(t, month, dir, "b.service", "sub", aRecording),
		put(t, month, dir, "no-target", aRecording),
		put(t, month, dir, "%2fnot-escaped-as-we-do", aRecording),
		put(t, month, dir, aRecording),
		put(t, month, elsewhere, "c.service", aRecording),
		put(t, month, elsewhere, "notes"),
		filepath.Join(dir, "c.service"), filepath.Join(dir, "d.service", aRecording), filepath.Join(dir, "lost+found"),
	}
	if err := errors.Join(os.Symlink(filepath.Join(elsewhere, "c.service"), filepath.Join(dir, "c.service")),
		os.Mkdir(filepath.Join(dir, "d.service"), 0o700), os.Mkdir(filepath.Join(dir, "lost+found"), 0o700),
		os.Symlink(filepath.Join(elsewhere, "notes"), filepath.Join(dir, "d.service", aRecording))); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		other := put(t, month, dir, "e.service", aRecording)
		if err := os.Chown(other, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, other)
	}
	nothing := leftoverBounds{}
	none := func(string) bool { return false }
	if err := (leftovers{recordingStore, dir, openRecordings, nothing}).sweep(none); err != nil {
		t.Error(err)
	}
	for _, name := range kept {
		if exist(name) == 0 {
			t.Errorf("%s was removed", name)
		}
	}
	if exist(mine) != 0 {
		t.Errorf("%s was not removed", mine)
	}
}

// One sweep reads a bounded number of entries; the next ones meet the others.
func TestSweepIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range listMost + 10 {
		put(t, time.Hour, dir, fmt.Sprintf("c%d.scope.json", i))
	}
	none := func(string) bool { return false }
	for _, want := range []int{10, 0} {
		if err := (leftovers{stateStore, dir, openStates, leftoverBounds{}}).sweep(none); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != want {
			t.Errorf("%d files are left, want %d; %v", len(left), want, err)
		}
	}
}

// A target that comes back while its folder is removed gets a new one.
func TestRecordingMakesItsFolderAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a.service")
	w, err := create(dir)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if exist(w.Name()) == 0 {
		t.Errorf("%s is not there", w.Name())
	}
}
