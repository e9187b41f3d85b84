package controller

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
)

// tape is what a guard records on. An error ends the recording for a while and nothing else.
type tape struct {
	to    io.WriteCloser
	w     *record.Writer // nil while there is no recording
	again time.Duration  // not to be tried before this
}

// recordAgain is how long recording is left alone after an error: a disk that is full stays so for a while.
const recordAgain = time.Minute

// beginTape begins a recording: before the first tick or after one, for it holds the state before the next.
func (g *guard) beginTape() {
	if g.endTape(); g.c.Record == nil || g.now() < g.tape.again {
		return
	}
	to, err := g.c.Record(g.place.name)
	if err == nil {
		g.tape.to = to
		g.tape.w, err = record.NewWriter(to, record.Begin{
			Target: g.place.name, At: g.now(), Wall: time.Now(), Policy: g.c.Policy.Source, State: g.state,
		})
	}
	g.taped(err)
}

func (g *guard) endTape() {
	if g.tape.w != nil {
		g.taped(g.tape.w.Close())
	}
	if g.tape.to != nil {
		g.taped(g.tape.to.Close())
	}
	g.tape.w, g.tape.to = nil, nil
}

// taped takes note of an error. It is never taken back, so that a disk that stays full is told once.
func (g *guard) taped(err error) {
	if err != nil {
		g.tape.w, g.tape.again = nil, g.now()+recordAgain
		g.note("recording", err)
	}
}

// record takes down an event. What a tick decided has been begun by then.
func (g *guard) record(e record.Event) {
	if g.tape.w != nil {
		g.taped(g.tape.w.Write(e))
	}
	if e.Tick != nil && (g.tape.w == nil || g.tape.w.Size >= g.c.RecordSize) {
		g.beginTape()
	}
}

func (v *view) tick(d policy.Decision) record.Event {
	l := v.nearest
	return record.Event{Decision: &d, Tick: &record.Tick{Sample: v.Sample, Used: l.Usage, Limit: l.Bytes, Nearest: strings.TrimSpace(l.Group + " " + l.Kind)}}
}

// file is written beside its user, whom a slow disk must not hold up. It is not synced: the page cache outlives us.
type file struct {
	lines chan []byte
	err   chan error // what was wrong, once; closed at the end
}

const suffix = ".jsonl.gz"

var errSlow = errors.New("writing a recording: the disk is too slow")

// NewFile makes a file for a recording in dir, with the time as its name, and removes the oldest there so that with one of size they have
// max bytes at most.
func NewFile(dir string, size, max int64) (io.WriteCloser, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making a folder for recordings: %w", err)
	}
	f := file{make(chan []byte, 256), make(chan error, 1)}
	go func() {
		defer close(f.err)
		if err := f.write(dir, max-size-record.MaxLine); err != nil {
			f.err <- fmt.Errorf("writing a recording: %w", err)
		}
	}()
	return f, nil
}

func (f file) write(dir string, keep int64) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, old := range slices.Backward(files) { // by name, and so by time
		info, err := old.Info()
		if err == nil && strings.HasSuffix(old.Name(), suffix) {
			if keep -= info.Size(); keep < 0 {
				err = os.Remove(filepath.Join(dir, old.Name()))
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	w, err := os.OpenFile(filepath.Join(dir, time.Now().UTC().Format("20060102T150405.000000Z")+suffix), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
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

// Write queues a line. It returns what went wrong with an earlier one.
func (f file) Write(line []byte) (int, error) {
	select {
	case err := <-f.err: // after that one, none: nothing is written to it any more
		return 0, err
	default:
	}
	select {
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
