package controller

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
)

// recording records one target. An error ends the recording for recordRetry and has no
// other effect.
type recording struct {
	target  string
	open    func(target string) io.WriteCloser // nil if nothing is recorded
	size    int64                              // bytes after which a new file begins
	storage storage

	to    io.WriteCloser
	w     *record.Writer // nil while nothing is recorded
	retry time.Duration  // not before this
}

// recordRetry is the pause after an error: a full disk stays full for a while.
const recordRetry = time.Minute

// begin begins a file. Its first line is the state before the next tick, so call begin
// before the first tick under a policy, or after a tick.
func (r *recording) begin(p *policy.Policy, s policy.State, now time.Duration) {
	if r.close(now); r.open == nil || now < r.retry {
		return
	}
	var err error
	r.to = r.open(r.target)
	r.w, err = record.NewWriter(r.to, record.Begin{
		Target: r.target, Policy: p.Source, NewPolicy: !s.Under(p), State: s,
		At: now, Wall: time.Now(),
	})
	r.note(now, err)
}

// full reports whether the next file is due.
func (r *recording) full() bool { return r.w == nil || r.w.Size >= r.size }

func (r *recording) write(now time.Duration, e record.Event) {
	if r.w != nil {
		r.note(now, r.w.Write(e))
	}
}

func (r *recording) close(now time.Duration) {
	if r.w != nil {
		r.note(now, r.w.Close())
	}
	if r.to != nil {
		r.note(now, r.to.Close())
	}
	if r.w != nil { // all of it was written
		r.storage.works(recordingStore)
	}
	r.w, r.to = nil, nil
}

// note ends the recording after an error. Only a file that was written completely resets
// the report: a disk that stays full, on which each new file fails, is reported once.
func (r *recording) note(now time.Duration, err error) {
	if err != nil {
		r.w, r.retry = nil, now+recordRetry
		r.storage.failed(recordingStore, err, "Recording of %s stopped: %v; retrying in 1 min")
	}
}

// Recordings is the folder that a daemon records into, with a folder in it for each
// target.
type Recordings struct {
	Dir       string // "" records nothing
	PerTarget int64  // bound of each target's recordings, in bytes
}

// FileSize is the size in bytes after which a new file begins: the oldest eighth of a
// target's recordings is removed at a time.
func (r Recordings) FileSize() int64 { return r.PerTarget / 8 }

// Open makes the file of a target's next recording.
func (r Recordings) Open(target string) io.WriteCloser {
	return NewFile(filepath.Join(r.Dir, url.PathEscape(target)), r.FileSize(), r.PerTarget)
}

// file is a file that a goroutine writes, so a slow disk does not delay its user. It is
// not synced: the page cache outlives this program.
type file struct {
	lines chan []byte
	err   chan error // the first error; closed at the end
}

// NewFile makes a file for a recording in dir, named by the time. It removes the oldest
// recordings there, so that with a file of size bytes they have max bytes at most.
func NewFile(dir string, size, max int64) io.WriteCloser {
	f := file{make(chan []byte, 256), make(chan error, 1)}
	go func() {
		defer close(f.err)
		if err := f.write(dir, max-size-record.MaxLine); err != nil {
			f.err <- err
		}
	}()
	return f
}

// makeRoom removes the oldest recordings of a folder, so that the others have keep bytes
// at most.
func makeRoom(dir string, keep int64) error {
	s, entries, err := openStore(dir)
	if err != nil {
		return err
	}
	defer s.root.Close()
	for _, e := range entries {
		if recordingName.MatchString(e.Name()) {
			s.add("", e.Name())
		}
	}
	newestFirst := func(a, b storedFile) int { return cmp.Compare(b.path, a.path) }
	slices.SortFunc(s.files, newestFirst)
	for _, f := range s.files {
		if keep -= f.size; keep >= 0 {
			continue
		}
		if err := s.root.Remove(f.path); err != nil {
			return err
		}
	}
	return nil
}

// create makes the file of a recording that begins now. The sweep of leftovers may remove
// its folder at the same moment, if the target was gone for long; then create makes the
// folder again.
func create(dir string) (*os.File, error) {
	name := filepath.Join(dir, time.Now().UTC().Format(recordingTime)+recordingSuffix)
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if errors.Is(err, fs.ErrNotExist) && os.MkdirAll(dir, 0o750) == nil {
		w, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	}
	return w, err
}

func (f file) write(dir string, keep int64) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := makeRoom(dir, keep); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w, err := create(dir)
	if err != nil {
		return err
	}
	for line := range f.lines {
		if _, err = w.Write(line); err != nil {
			break
		}
	}
	return errors.Join(err, w.Close())
}

var errSlow = errors.New("the disk is too slow")

// Write queues a line. It returns the error of an earlier line, after which it must not
// be called.
func (f file) Write(line []byte) (int, error) {
	select {
	case err := <-f.err:
		return 0, err
	case f.lines <- line:
		return len(line), nil
	default:
		return 0, errSlow
	}
}

// Close waits until all queued lines are written, for a second at most.
func (f file) Close() error {
	close(f.lines)
	select {
	case err := <-f.err:
		return err
	case <-time.After(time.Second):
		return errSlow
	}
}
