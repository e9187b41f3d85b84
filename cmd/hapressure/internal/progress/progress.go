// Package progress shows how far a long command is, and ends it at a signal.
package progress

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"hapressure/cmd/hapressure/internal/render"
)

const (
	// patience is how long a command runs before the line is shown.
	patience = 500 * time.Millisecond
	redraw   = 200 * time.Millisecond
)

// Line is the last line of a terminal, which shows what a command is doing and for how
// long. Other files than a terminal get no lines.
type Line struct {
	out      io.Writer
	width    int // of the terminal, 0 = none
	begun    time.Time
	signals  chan os.Signal // nil = they are not caught
	ended    chan struct{}
	finished sync.WaitGroup

	mu    sync.Mutex // of out and the following fields
	doing string
	left  string // a file that is incomplete if the command is interrupted
	shown int    // length of what is on the terminal
}

// Show begins a line on out. The text is of the form "replaying a.rec".
func Show(out io.Writer, doing string) *Line { return begin(out, doing, nil) }

// Interruptible is Show for a command that has nothing to clean up. At SIGINT or SIGTERM
// it prints what was interrupted and ends the process by the same signal, at once, also
// while the command is blocked.
func Interruptible(out io.Writer, doing string) *Line {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return begin(out, doing, signals)
}

func begin(out io.Writer, doing string, signals chan os.Signal) *Line {
	l := &Line{
		out: out, width: render.Width(out), begun: time.Now(), doing: doing, signals: signals,
		ended: make(chan struct{}),
	}
	l.finished.Go(l.run)
	return l
}

// Doing changes the text.
func (l *Line) Doing(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doing = render.Printable(fmt.Sprintf(format, args...))
}

// Writes names the file that the command is writing.
func (l *Line) Writes(file string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = file
}

// Write writes to the terminal above the line.
func (l *Line) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draw("")
	return l.out.Write(b)
}

// End removes the line. A command ends it before it prints its result.
func (l *Line) End() {
	close(l.ended)
	l.finished.Wait()
	signal.Stop(l.signals)
}

func (l *Line) run() {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-l.ended:
			l.erase()
			return
		case <-tick.C:
			l.update()
		case s := <-l.signals:
			fmt.Fprintf(l, "hapressure: interrupted while %s\n", l.interrupted())
			signal.Reset(s)
			syscall.Kill(os.Getpid(), s.(syscall.Signal))
		}
	}
}

func (l *Line) update() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if took := time.Since(l.begun); took >= patience {
		l.draw(l.doing + " (" + render.Span(took.Seconds()) + ")")
	}
}

func (l *Line) erase() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draw("")
}

// interrupted returns what was being done, and what is incomplete.
func (l *Line) interrupted() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left == "" || l.left == "-" {
		return l.doing
	}
	return l.doing + ": " + render.Printable(l.left) + " is incomplete"
}

// draw replaces the line. It uses no escapes.
func (l *Line) draw(text string) {
	if l.width == 0 || text == "" && l.shown == 0 {
		return
	}
	letters := []rune(text)
	letters = letters[:min(len(letters), l.width-1)]
	blank := strings.Repeat(" ", max(0, l.shown-len(letters)))
	fmt.Fprintf(l.out, "\r%s%s", string(letters), blank)
	if l.shown = len(letters); l.shown == 0 {
		fmt.Fprint(l.out, "\r")
	}
}
