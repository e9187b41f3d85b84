package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOldQEMUIsRefused(t *testing.T) {
	for said, ok := range map[string]bool{
		"QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright (c) ...": true,
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright (c) ...":  false,
		"QEMU emulator version 9.2.4\n":                                          false,
		"":                                                                       false,
	} {
		if err := checkVersion(said); (err == nil) != ok {
			t.Errorf("checkVersion(%q) = %v", said, err)
		}
	}
}

func TestPayloadKeepsModesAndStaysInside(t *testing.T) {
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(source, 0o751); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := makePayloadDisk(disk); err != nil {
		t.Fatal(err)
	}
	write := func(name, script string) error {
		return writePayload(disk, Spec{Files: map[string]string{name: source}, Run: script})
	}
	// the second is shorter
	for _, script := range []string{strings.Repeat("true\n", 1000), "true"} {
		if err := write("a/b/c", script); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(disk)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		dir := t.TempDir()
		if err := unpack(file, dir); err != nil {
			t.Fatal(err)
		}
		contains(t, filepath.Join(dir, "a/b/c"), "content")
		if b, err := os.ReadFile(filepath.Join(dir, runScript)); string(b) != script {
			t.Errorf("the script has %d bytes, %v; want %d", len(b), err, len(script))
		}
		info, err := os.Stat(filepath.Join(dir, "a/b/c"))
		if err != nil || info.Mode().Perm() != 0o751 {
			t.Errorf("the file is %v, %v; want mode 751", info, err)
		}
	}
	for _, name := range []string{"../c", "/c", runScript, ""} {
		if err := write(name, "true"); err == nil {
			t.Errorf("a file named %q was accepted", name)
		}
	}
}

func TestUnpackStaysInside(t *testing.T) {
	for name, ok := range map[string]bool{"./folder/file": true, "../file": false, "/file": false} {
		var archive bytes.Buffer
		files := tar.NewWriter(&archive)
		headers := []*tar.Header{
			{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
			{Name: "./folder/", Typeflag: tar.TypeDir, Mode: 0o500},
			{Name: "./link", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
			{Name: name, Typeflag: tar.TypeReg, Mode: 0o400, Size: 2},
		}
		for _, header := range headers {
			if err := files.WriteHeader(header); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := files.Write([]byte("ok")); err != nil {
			t.Fatal(err)
		}
		if err := files.Close(); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := unpack(&archive, dir); (err == nil) != ok {
			t.Errorf("unpacking %q: %v", name, err)
		} else if ok {
			contains(t, filepath.Join(dir, name), "ok")
		}
	}
}

func TestLockIsExclusiveAndWaitingEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err,
		syscall.EWOULDBLOCK) {
		t.Fatalf("locking what is locked: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lock(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("a second lock: %v, want it to wait until its context ends", err)
	}
	unlock()
	unlock, err = lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestConsoleEndHasThePanicsCause(t *testing.T) {
	for lines, want := range map[int]string{3: "early", 30: "early", 60: "] Kernel panic - why\n"} {
		m := &machine{dir: t.TempDir()}
		log := "early\n[ 1.0] Kernel panic - why\n" + strings.Repeat("trace\n", lines)
		if err := os.WriteFile(m.console(), []byte(log), 0o644); err != nil {
			t.Fatal(err)
		}
		_, end, _ := strings.Cut(m.consoleEnd(), "\n")
		if !strings.Contains(end, want) || strings.Count(end, "trace") != lines ||
			strings.Count(end, "why") != 1 {
			t.Errorf("%d lines after the panic: %q", lines, end)
		}
	}
}

func TestLiveThatFailsDoesNotStopTheGuest(t *testing.T) {
	live, err := os.Open(os.DevNull) // cannot be written to
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	s := newStream()
	s.begin(live)
	for _, part := range []string{"one ", "two\x00"} {
		if n, err := s.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("Write(%q) = %d, %v", part, n, err)
		}
	}
	if s.text() != "one two" {
		t.Errorf("kept %q", s.text())
	}
	select {
	case <-s.mark:
	default:
		t.Error("the mark was not seen")
	}
}
