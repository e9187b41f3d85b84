package haproxytest

import (
	"bufio"
	"io"
	"os/exec"
	"testing"
)

// StartChild starts a program that runs until its standard input ends, which is at the
// end of the test, and returns its standard input and output.
func StartChild(t testing.TB, cmd *exec.Cmd) (io.Writer, *bufio.Reader) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return in, bufio.NewReader(out)
}
