// Package record is the format of recordings: all that a guard sensed, decided and did, in full precision, so that it can be replayed
// exactly.
//
// A recording is gzip of lines of JSON, one an Event. It can be read up to wherever it was cut off, and recordings can be joined by cat.
package record

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"hapressure/policy"
)

const (
	version = 2
	// MaxLine bounds a line before it is compressed, in bytes. A worker takes about 200.
	MaxLine = 1 << 20
)

// A recording of a few hundred KiB can decompress to any number of lines, so a Reader bounds what one may
// hold. The daemon's files are far below: at one sample a second the lines are those of eleven days, and
// the daemon begins a new file after an eighth of --recordings-size, by default some four hours.
const (
	MaxLines  = 1_000_000
	MaxText   = 2 << 30 // bytes of lines, decompressed: 2 KiB for each of MaxLines, as with seven workers
	MaxBegins = 1000    // each has a policy, which takes milliseconds to decode
)

// ErrTooLong is wrapped by the error of a recording that exceeds one of these bounds.
var ErrTooLong = errors.New("the recording is too long")

// Begin is what has to be known before the first tick.
type Begin struct {
	Version int           `json:"Version"`
	Target  string        `json:"Target"`
	At      time.Duration `json:"At"`     // on the clock of Sample.Now
	Wall    time.Time     `json:"Wall"`   // what a wall clock showed then
	Policy  string        `json:"Policy"` // the policy in force, as YAML
	// State is that before the first tick, which takes it over from another policy where NewPolicy is set.
	State     policy.State `json:"State"`
	NewPolicy bool         `json:"NewPolicy"`
}

// Tick is one look at a target.
type Tick struct {
	policy.Sample
	Decision policy.Decision `json:"Decision"`
	// For people, the policy does not know it: the nearest limit and what is used of it, in bytes, and its name; 0 = not known.
	Used    uint64 `json:"Used"`
	Limit   uint64 `json:"Limit"`
	Nearest string `json:"Nearest"`
}

// Event is one line; one field is set.
type Event struct {
	Begin   *Begin          `json:"Begin,omitempty"`
	Tick    *Tick           `json:"Tick,omitempty"`
	Outcome *policy.Outcome `json:"Outcome,omitempty"` // of an action that an earlier Decision gave
}

// Writer writes one recording.
type Writer struct {
	w   io.Writer
	buf bytes.Buffer
	zip *gzip.Writer
	// Size is what has been written, in bytes.
	Size int64
}

// NewWriter makes a Writer that appends to w, which gets one Write for each event and keeps what it gets.
func NewWriter(w io.Writer, b Begin) (*Writer, error) {
	rec := &Writer{w: w}
	rec.zip = gzip.NewWriter(&rec.buf)
	b.Version = version
	return rec, rec.Write(Event{Begin: &b})
}

// Write writes an event so that it is not lost if we are killed.
func (w *Writer) Write(e Event) error {
	line, err := json.Marshal(e)
	if err == nil && len(line) >= MaxLine {
		err = fmt.Errorf("a line of %d bytes is too long", len(line))
	}
	if err != nil {
		return fmt.Errorf("encoding a recording: %w", err)
	}
	w.zip.Write(append(line, '\n')) // into memory: that does not fail
	w.zip.Flush()
	return w.flush()
}

// Close ends the recording. It does not close what was written to.
func (w *Writer) Close() error {
	w.zip.Close()
	return w.flush()
}

func (w *Writer) flush() error {
	n, err := w.w.Write(bytes.Clone(w.buf.Bytes()))
	w.Size += int64(n)
	w.buf.Reset()
	return err
}

// ErrNone is wrapped by the error of what does not begin as a recording does.
var ErrNone = errors.New("this is not a recording")

// Reader reads recordings.
type Reader struct {
	lines *bufio.Scanner
	// What was read: the number of the line, from 1; bytes of lines; and events with a Begin.
	line, text, begins int
	cut                bool
}

// NewReader makes a Reader of r.
func NewReader(r io.Reader) (*Reader, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	lines := bufio.NewScanner(zip)
	lines.Buffer(nil, MaxLine+1)
	return &Reader{lines: lines}, nil
}

// Cut reports whether the recording that Next has read to its end has no proper one, and how many lines are whole. A
// recording that is still being written has none either.
func (r *Reader) Cut() (lines int, cut bool) { return r.line - 1, r.cut }

// Next returns the next event. At the end, or where the recording was cut off, it returns io.EOF.
func (r *Reader) Next() (Event, error) {
	var e Event
	err := io.EOF
	if r.lines.Scan() {
		d := json.NewDecoder(bytes.NewReader(r.lines.Bytes()))
		d.DisallowUnknownFields() // a later release's: what it means for a decision is not known
		err = d.Decode(&e)
	} else if r.lines.Err() != nil {
		err = r.lines.Err()
	}
	r.line++
	r.text += len(r.lines.Bytes())
	if e.Begin != nil {
		r.begins++
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && !r.lines.Scan() && errors.Is(r.lines.Err(), io.ErrUnexpectedEOF):
		r.cut = true
		return Event{}, io.EOF
	case err == io.EOF:
		return Event{}, err
	case err != nil:
	case r.line > MaxLines:
		err = fmt.Errorf("%w: it has more than %d lines", ErrTooLong, MaxLines)
	case r.text > MaxText:
		err = fmt.Errorf("%w: its lines have more than %d MiB", ErrTooLong, MaxText>>20)
	case r.begins > MaxBegins:
		err = fmt.Errorf("%w: it begins more than %d times", ErrTooLong, MaxBegins)
	case r.line == 1 && e.Begin == nil:
		err = ErrNone
	case e.Begin != nil && e.Begin.Version != version:
		err = fmt.Errorf("version %d is not known, this program reads %d", e.Begin.Version, version)
	case e == Event{}, e != Event{Begin: e.Begin} && e != Event{Tick: e.Tick} && e != Event{Outcome: e.Outcome}:
		err = errors.New("it is no event")
	}
	if err != nil {
		return Event{}, fmt.Errorf("reading line %d: %w", r.line, err)
	}
	return e, nil
}
