package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A recording of some hundred KiB that decompresses to ten million lines takes no more
// memory than a long one of the daemon, and the error says where it was given up.
func TestReplayOfACraftedRecordingIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a million lines")
	}
	name := filepath.Join(t.TempDir(), "crafted.jsonl.gz")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(f)
	_, err = io.WriteString(w, `{"Begin":{"Version":2,"Target":"x","Policy":"version: 1\n"}}`+"\n")
	thousand := bytes.Repeat([]byte(`{"Tick":{}}`+"\n"), 1000)
	for range 10_000 {
		_, werr := w.Write(thousand)
		err = errors.Join(err, werr)
	}
	if err := errors.Join(err, w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t), "replay", name, "--html",
		filepath.Join(t.TempDir(), "page.html"))
	out, _ := cmd.CombinedOutput()
	if want := name + ": reading line 1000001: the recording is " +
		"too long"; cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), want) {
		t.Errorf("exit %d, %.1000s, want %q", cmd.ProcessState.ExitCode(), out, want)
	}
	// KiB; it takes some 50 MiB, and several times that with the race detector
	const most = 512 << 10
	if rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; rss > most {
		t.Errorf("it took %d KiB of memory, want %d at the most", rss, most)
	} else {
		t.Logf("it took %d KiB of memory", rss)
	}
}
