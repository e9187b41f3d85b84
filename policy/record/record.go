// Package record reads and writes recordings: all that a guard sensed, decided and did,
// in full precision, so that it can be replayed exactly.
//
// A recording consists of lines of JSON, one for each Event, compressed by gzip. A
// recording that was cut off can be read up to that place. Recordings can be joined with
// cat.
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
	// MaxLine bounds a line before compression, in bytes. A worker takes about 200.
	MaxLine = 1 << 20
)

// The bounds of one recording: a file of a few hundred KiB can decompress to any number
// of lines. At one sample a second, maxLines is eleven days. The daemon's files are far
// smaller: it begins a new one after an eighth of --recordings-size, by default after
// some four hours.
const (
	maxLines  = 1_000_000
	maxText   = 2 << 30 // bytes, decompressed: 2 KiB for each of maxLines, as with seven workers
	maxBegins = 1000    // each has a policy, which takes milliseconds to decode
)

// errTooLong is wrapped by the error for a recording that exceeds one of these bounds.
var errTooLong = errors.New("the recording is too long")

// Begin is what must be known before the first tick.
type Begin struct {
	Version int           `json:"Version"`
	Target  string        `json:"Target"`
	At      time.Duration `json:"At"`     // on the clock of Sample.Now
	Wall    time.Time     `json:"Wall"`   // the wall clock's time at At
	Policy  string        `json:"Policy"` // the policy in force, as YAML
	// State is the state before the first tick. If NewPolicy is set, it belongs to the
	// previous policy and the first tick adopts Policy.
	State     policy.State `json:"State"`
	NewPolicy bool         `json:"NewPolicy"`
}

// Tick is one tick of a guard.
type Tick struct {
	policy.Sample
	Decision policy.Decision `json:"Decision"`
	// For display only: the limit with the least headroom, the bytes used of it, and its
	// name; 0 = not known.
	Used    uint64 `json:"Used"`
	Limit   uint64 `json:"Limit"`
	Nearest string `json:"Nearest"`
	// Of a simulation, for display only: connections cut and reloads failed so far. A
	// daemon cannot count them.
	Cut    int `json:"Cut,omitzero"`
	Failed int `json:"Failed,omitzero"`
}

// Event is one line. Exactly one field is set.
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
	// Size is the number of bytes written.
	Size int64
}

// NewWriter returns a Writer to w. It calls w.Write once for each event, and w may keep
// the slice.
func NewWriter(w io.Writer, b Begin) (*Writer, error) {
	rec := &Writer{w: w}
	rec.zip = gzip.NewWriter(&rec.buf)
	b.Version = version
	return rec, rec.Write(Event{Begin: &b})
}

// Write writes and flushes an event, so that it is not lost if the process is killed.
func (w *Writer) Write(e Event) error {
	line, err := json.Marshal(e)
	if err == nil && len(line) >= MaxLine {
		err = fmt.Errorf("a line of %d bytes is too long", len(line))
	}
	if err != nil {
		return fmt.Errorf("encoding a recording: %w", err)
	}
	w.zip.Write(append(line, '\n')) // into memory: cannot fail
	w.zip.Flush()
	return w.flush()
}

// Close ends the recording. It does not close the underlying writer.
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

// errNone is wrapped by the error for a file that does not begin as a recording.
var errNone = errors.New("this is not a recording")

// Reader reads recordings.
type Reader struct {
	lines  *bufio.Scanner
	line   int // the number of the line that was read last, from 1
	text   int // bytes of lines read
	begins int // events with a Begin
	cut    bool
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) (*Reader, error) {
	zip, err := gzip.NewReader(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: it is too short", errNone)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNone, err)
	}
	lines := bufio.NewScanner(zip)
	lines.Buffer(nil, MaxLine+1)
	return &Reader{lines: lines}, nil
}

// Cut reports whether the recording that Next has read was cut off, and how many lines
// are complete. A recording that is still being written counts as cut off.
func (r *Reader) Cut() (lines int, cut bool) { return r.line - 1, r.cut }

// Next returns the next event. At the end, also of a recording that was cut off, it
// returns io.EOF.
func (r *Reader) Next() (Event, error) {
	var e Event
	err := io.EOF
	if r.lines.Scan() {
		d := json.NewDecoder(bytes.NewReader(r.lines.Bytes()))
		d.DisallowUnknownFields() // of a later release: their meaning for decisions is unknown
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
	case errors.Is(err, io.ErrUnexpectedEOF) && !r.lines.Scan() &&
		errors.Is(r.lines.Err(), io.ErrUnexpectedEOF):
		r.cut = true
		return Event{}, io.EOF
	case err == io.EOF:
		return Event{}, err
	case err != nil:
	case r.line > maxLines:
		err = fmt.Errorf("%w: it has more than %d lines", errTooLong, maxLines)
	case r.text > maxText:
		err = fmt.Errorf("%w: its lines have more than %d MiB", errTooLong, maxText>>20)
	case r.begins > maxBegins:
		err = fmt.Errorf("%w: it begins more than %d times", errTooLong, maxBegins)
	case r.line == 1 && e.Begin == nil:
		err = errNone
	case e.Begin != nil && e.Begin.Version != version:
		err = fmt.Errorf("version %d is not known: this program reads version %d", e.Begin.Version, version)
	case e == Event{}, e != Event{Begin: e.Begin} && e != Event{Tick: e.Tick} &&
		e != Event{Outcome: e.Outcome}:
		err = errors.New("it is not an event")
	}
	if err != nil {
		return Event{}, fmt.Errorf("reading line %d: %w", r.line, err)
	}
	return e, nil
}
