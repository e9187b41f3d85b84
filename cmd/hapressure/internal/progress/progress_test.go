package progress

import (
	"strings"
	"testing"
)

// A line is replaced by what is written above it and by the next one, without escapes,
// and is never wider than the terminal.
func TestLine(t *testing.T) {
	var out strings.Builder
	l := &Line{out: &out, width: 12}
	l.draw("reading a.rec (1s)")
	l.draw("reading")
	l.Write([]byte("warning\n"))
	l.draw("reading")
	l.draw("")
	const blank = "\r       \r"
	want := "\rreading a.r" + "\rreading    " + blank + "warning\n" + "\rreading" + blank
	if out.String() != want {
		t.Errorf("wrote %q, want %q", out.String(), want)
	}
}

// Other files than a terminal get what is written, and no lines.
func TestNoTerminal(t *testing.T) {
	var out strings.Builder
	l := Show(&out, "reading")
	l.update()
	l.Write([]byte("warning\n"))
	l.End()
	if out.String() != "warning\n" {
		t.Errorf("wrote %q", out.String())
	}
}

func TestInterrupted(t *testing.T) {
	l := &Line{}
	l.Doing("simulating %s", "a\x1b")
	if got := l.interrupted(); got != `simulating a\x1b` {
		t.Errorf("got %q", got)
	}
	l.Writes("a.rec")
	if got := l.interrupted(); got != `simulating a\x1b: a.rec is incomplete` {
		t.Errorf("got %q", got)
	}
}
