package render

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Window is the size of the terminal that out is; 0 if it is none, or one that knows no escapes.
func Window(out io.Writer) (width, height int) {
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
