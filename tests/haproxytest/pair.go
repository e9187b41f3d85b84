package haproxytest

import (
	"bufio"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"
)

// ServePair serves each connection that arrives over a socket pair, as a worker does for
// its master, until the pair is closed.
func ServePair(pair net.Conn, serve func(net.Conn)) {
	for {
		b, oob := make([]byte, 2), make([]byte, 64)
		_, n, _, _, err := pair.(*net.UnixConn).ReadMsgUnix(b, oob)
		if err != nil {
			return
		}
		messages, _ := unix.ParseSocketControlMessage(oob[:n])
		for _, m := range messages {
			fds, _ := unix.ParseUnixRights(&m)
			for _, fd := range fds {
				f := os.NewFile(uintptr(fd), "connection")
				c, err := net.FileConn(f)
				f.Close()
				if err == nil {
					go func() { defer c.Close(); serve(c) }()
				}
			}
		}
	}
}

// ServedPair makes a socket pair, serves one end by ServePair until the test ends, and
// returns the number of the other end.
func ServedPair(t *testing.T, serve func(net.Conn)) int {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	end, worker := os.NewFile(uintptr(ends[0]), "pair"), os.NewFile(uintptr(ends[1]), "worker")
	conn, err := net.FileConn(worker)
	if err := errors.Join(err, worker.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close(); conn.Close() })
	go ServePair(conn, serve)
	return ends[0]
}

// Command reads the command that a client of a CLI sends.
func Command(conn net.Conn) string {
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

// Printable makes sure that an error may go to the journal and to a terminal, whichever
// process had a part in its text.
func Printable(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	text := strings.ReplaceAll(err.Error(), "\n", "")
	odd := strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
	if len(text) > 1000 || odd {
		t.Errorf("%d bytes: %.300q", len(text), text)
	}
}
