package main

import (
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// printable quotes what a terminal would take for a command: names and error texts come from outside.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// window is the size of the terminal that out is; 0 if it is none, or one that knows no escapes.
func window(out io.Writer) (width, height int) {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return 0, 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return int(size.Col), int(size.Row)
}

// wrap makes lines of a text that may itself have several, broken between words at width where that is not 0. All but the first begin with
// indent spaces.
func wrap(text string, width, indent int) string {
	var b strings.Builder
	at := indent
	for i, line := range strings.Split(text, "\n") {
		for j, word := range strings.Split(line, " ") {
			word = printable(word)
			n := len([]rune(word))
			switch {
			case i == 0 && j == 0:
			case j == 0 || width > 0 && at+1+n > width:
				b.WriteString("\n" + strings.Repeat(" ", indent))
				at = indent
			default:
				b.WriteByte(' ')
				at++
			}
			b.WriteString(word)
			at += n
		}
	}
	return b.String()
}

// table prints rows with their columns aligned to the right, where numbers are compared best.
func table(out io.Writer, indent string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		io.WriteString(w, indent+strings.Join(row, "\t")+"\t\n")
	}
	return w.Flush()
}
