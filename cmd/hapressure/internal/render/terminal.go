package render

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// IsTerminal reports whether a file is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Screen is what text is printed on. Its zero value is a file or a pipe: it has lines of
// any length, and no colours.
type Screen struct {
	Width    int // columns; 0 = any number
	Color    bool
	Terminal bool
}

// Colors are the values of --color.
var Colors = []string{"auto", "always", "never"}

// NewScreen returns the screen that out is. color is one of Colors; auto is a terminal
// with escapes, unless NO_COLOR is set (no-color.org).
func NewScreen(out io.Writer, color string) Screen {
	width := Width(out)
	auto := width > 0 && os.Getenv("NO_COLOR") == ""
	return Screen{Width: width, Terminal: width > 0,
		Color: color == "always" || color == "auto" && auto}
}

// Width returns the columns of a terminal, 0 for another file and a terminal without
// escapes.
func Width(out io.Writer) int {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// Level is how good the news is that a text is.
type Level int

const (
	Minor Level = iota - 1
	Plain
	Good
	Warning
	Problem
)

// sgr are the parameters of the escape that colours a level (console_codes(4)).
var sgr = map[Level]string{Good: "32", Warning: "33", Problem: "1;31", Minor: "2"}

// Paint returns a text in the colour of a level.
func (s Screen) Paint(l Level, text string) string {
	if !s.Color || l == Plain || text == "" {
		return text
	}
	return "\x1b[" + sgr[l] + "m" + text + "\x1b[0m"
}

// cut shortens a line without escapes to the width of the screen.
func (s Screen) cut(line string) string {
	if s.Width == 0 || columns(line) <= s.Width {
		return line
	}
	return string([]rune(line)[:s.Width-1]) + "…"
}

// columns is how many columns of a screen a text takes.
func columns(text string) int { return len([]rune(text)) }

// Line returns a text without control characters in a colour, cut at the width of the
// screen.
func (s Screen) Line(l Level, text string) string {
	return s.Paint(l, s.cut(Printable(text)))
}

// Cut reports whether Line shortens a text.
func (s Screen) Cut(text string) bool {
	return s.Width > 0 && columns(Printable(text)) > s.Width
}
