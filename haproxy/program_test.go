package haproxy

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hapressure/tests/haproxytest"
)

// TestProgramsOfHAProxy are recognised by what they are, not by their name.
func TestProgramsOfHAProxy(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		haproxytest.Program(t): true, self: false, "/bin/sh": false, "/proc/self/maps": false,
		haproxytest.Lookalike(t, "/bin/sleep", "x"): true,
	} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got, err := hasMark(f); got != want || err != nil {
			t.Errorf("%s: %v, %v, want %v", path, got, err, want)
		}
	}
}

// TestProgramsOfEachRelease: the section was renamed in 2.4.
func TestProgramsOfEachRelease(t *testing.T) {
	for names, want := range map[string]bool{
		"\x00.text\x00i_STG_REGISTER\x00": true, "\x00init_STG_REGISTER\x00.text\x00": true,
		"\x00.text\x00STG_REGISTER\x00": false, "\x00.text\x00i_STG_REGISTER2\x00": false,
	} {
		if got, err := hasMark(bytes.NewReader(smallELF(names))); got != want || err != nil {
			t.Errorf("%q: %v, %v, want %v", names, got, err, want)
		}
	}
}

// TestUnreadableProgram: then the name of the file decides.
func TestUnreadableProgram(t *testing.T) {
	procfs := t.TempDir() // without a link to the executable
	ps := NewPrograms(procfs)
	for name, want := range map[string]bool{"/usr/sbin/haproxy-2.8": true,
		"/opt/hapee-2.8/sbin/hapee-lb": true, "/usr/sbin/nginx": false} {
		if got := ps.runHAProxy(t.Context(), process{ID: ID{PID: 1}, exe: name}); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestProgramThatDoesNotAnswer: an executable on a file system without a server delays
// nothing for long. A FIFO without a writer is like that.
func TestProgramThatDoesNotAnswer(t *testing.T) {
	procfs := t.TempDir()
	if err := os.Mkdir(filepath.Join(procfs, "1"), 0o755); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(procfs, "1/exe")
	if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ps := NewPrograms(procfs)
	for start := range uint64(2 * programsHung) { // as many as may hang, and more
		p := process{ID: ID{PID: 1, Start: start}, exe: "/usr/sbin/haproxy"}
		if !ps.runHAProxy(t.Context(), p) || ps.known[p.ID].retry.IsZero() {
			t.Fatalf("%+v, want that its name decides until it can be read", ps.known[p.ID])
		}
	}
	f, err := os.OpenFile(fifo, os.O_RDWR, 0) // the reads return
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// smallELF is an executable that consists of its header and of the names of its sections.
func smallELF(names string) []byte {
	b := make([]byte, 128)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint64(b[40:], 64) // e_shoff
	binary.LittleEndian.PutUint16(b[58:], 64) // e_shentsize
	binary.LittleEndian.PutUint64(b[64+24:], 128)
	binary.LittleEndian.PutUint64(b[64+32:], uint64(len(names)))
	return append(b, names...)
}

func FuzzHasMark(f *testing.F) {
	f.Add(smallELF("\x00.text\x00i_STG_REGISTER\x00read_mostly\x00"))
	f.Add(smallELF("\x00.text\x00init_STG_REGISTER\x00"))
	f.Add(smallELF("\x00.text\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if has, err := hasMark(bytes.NewReader(b)); err != nil ||
			has && !bytes.Contains(b, []byte(initcalls[0]+"\x00")) &&
				!bytes.Contains(b, []byte(initcalls[1]+"\x00")) {
			t.Errorf("%v, %v", has, err)
		}
	})
}
