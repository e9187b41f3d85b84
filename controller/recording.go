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

// tape is what a guard records on. An error ends the recording for a while and nothing else.
type tape struct {
	to    io.WriteCloser
	w     *record.Writer // nil while there is no recording
	again time.Duration  // not to be tried before this

	policy *policy.Policy // of the last step
}

// recordAgain is how long recording is left alone after an error: a disk that is full stays so for a while.
const recordAgain = time.Minute

// beginTape begins a recording: right before a tick that is the first under a policy or after any other, for it holds the state before
// the next.
func (g *guard) beginTape(p *policy.Policy) {
	began := record.Begin{Target: g.name, Policy: p.Source, NewPolicy: !g.state.Under(p), State: g.state}
	g.tape.policy = p
	if g.endTape(); g.c.Record == nil || g.now() < g.tape.again {
		return
	}
	var err error
	began.At, began.Wall = g.now(), time.Now()
	g.tape.to = g.c.Record(g.name)
	g.tape.w, err = record.NewWriter(g.tape.to, began)
	g.taped(err)
}

func (g *guard) endTape() {
	if g.tape.w != nil {
		g.taped(g.tape.w.Close())
	}
	if g.tape.to != nil {
		g.taped(g.tape.to.Close())
	}
	if g.tape.w != nil { // it was written to its end
		delete(g.unstored, recordingStore)
	}
	g.tape.w, g.tape.to = nil, nil
}

// taped takes note of an error. It is forgotten only when a recording was written to its end: a disk
// that stays full, on which each new recording fails in its turn, is reported once.
func (g *guard) taped(err error) {
	if err != nil {
		g.tape.w, g.tape.again = nil, g.now()+recordAgain
		g.storageFailed(recordingStore, err, "Recording of %s stopped: %v; retrying in 1 min")
	}
}

// record takes down an event. What a tick decided has been begun by then.
func (g *guard) record(e record.Event) {
	if g.tape.w != nil {
		g.taped(g.tape.w.Write(e))
	}
	if e.Tick != nil && (g.tape.w == nil || g.tape.w.Size >= g.c.RecordSize) {
		g.beginTape(g.tape.policy)
	}
}

// file is written beside its user, whom a slow disk must not hold up. It is not synced: the page cache outlives us.
type file struct {
	lines chan []byte
	err   chan error // what went wrong, once; closed at the end
}

// Recordings is the folder that a daemon records into, with a folder in it for each target.
type Recordings struct {
	Dir       string // "" records nothing
	PerTarget int64  // bound of each target's recordings, in bytes
}

// FileSize is the size after which a recording is followed by a new one: the oldest eighth of what a
// target has is removed at a time.
func (r Recordings) FileSize() int64 { return r.PerTarget / 8 }

// Open makes the file of a target's next recording.
func (r Recordings) Open(target string) io.WriteCloser {
	return NewFile(filepath.Join(r.Dir, url.PathEscape(target)), r.FileSize(), r.PerTarget)
}

// NewFile makes a file for a recording in dir, with the time as its name, and removes the oldest there, so that with one of size bytes
// they have max at most.
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

// makeRoom removes the oldest recordings of a folder, so that those that stay have keep bytes at most.
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
	slices.SortFunc(s.files, func(a, b storedFile) int { return cmp.Compare(b.path, a.path) }) // the newest first
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

// create makes the file of a recording that begins now. Its folder may be removed at the same moment, as
// that of a target that was gone for long, and is then made again.
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
	defer w.Close()
	for line := range f.lines {
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

var errSlow = errors.New("the disk is too slow")

// Write queues a line. It returns what went wrong with an earlier one; it is not to be called again then.
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

// Close waits until what is queued has been written, but not for long.
func (f file) Close() error {
	close(f.lines)
	select {
	case err := <-f.err:
		return err
	case <-time.After(time.Second):
		return errSlow
	}
}
