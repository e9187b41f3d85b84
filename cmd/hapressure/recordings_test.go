package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hapressure/policy/record"
)

// writeRecording writes a recording of n samples of a target, and returns the text of the file.
func writeRecording(t *testing.T, file, target string, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := record.NewWriter(&b, record.Begin{Target: target, Wall: time.Unix(0, 0).UTC(), Policy: policyText("good")})
	for i := range n {
		tick := record.Tick{}
		tick.Now = time.Duration(i) * time.Second
		err = errors.Join(err, w.Write(record.Event{Tick: &tick}))
	}
	if err := errors.Join(err, w.Close(), os.WriteFile(file, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReplayOfACutRecording(t *testing.T) {
	bin, file := program(t), filepath.Join(t.TempDir(), "x.rec")
	whole := writeRecording(t, file, "haproxy.service", 10)
	if _, out := ends(t, bin, "replay", file); strings.Contains(out, "has no end") || !strings.Contains(out, "10 samples") {
		t.Errorf("a whole recording:\n%s", out)
	}
	if err := os.WriteFile(file, whole[:len(whole)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, out := ends(t, bin, "replay", file); !strings.Contains(out, "hapressure: "+file+" has no end: it was cut off after line ") {
		t.Errorf("a cut recording:\n%s", out)
	}
}

func TestReplayOfSeveralTargets(t *testing.T) {
	bin, dir := program(t), t.TempDir()
	a, b := filepath.Join(dir, "a.rec"), filepath.Join(dir, "b.rec")
	writeRecording(t, a, "a.service", 2)
	writeRecording(t, b, "b.service", 2)
	code, out := ends(t, bin, "replay", a, b)
	if code != exitFailed || !strings.Contains(out, b+`: its target is "b.service", and that of the recordings before it is "a.service"`) {
		t.Errorf("exit %d\n%s", code, out)
	}
}
