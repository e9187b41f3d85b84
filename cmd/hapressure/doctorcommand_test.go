package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hapressure/cmd/hapressure/internal/doctor"
)

// The command itself, on this machine, as root and as another user.
func TestDoctorCommand(t *testing.T) {
	bin := program(t)
	code, got := callJSON[struct{ Findings []doctor.Finding }](t, bin, "doctor", "--socket",
		t.TempDir()+"/none")
	hasProblem := slices.ContainsFunc(got.Findings,
		func(f doctor.Finding) bool { return f.Level == "problem" })
	if hasProblem != (code == exitRefused) || !hasProblem && code != 0 || len(got.Findings) < 6 {
		t.Errorf("exit %d, %+v", code, got)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	text, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "") // only root can read that of the test
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	copied := dir + "/hapressure"
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(copied, text, 0o755),
		os.Chmod(copied, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "doctor", "--socket", "/none")
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534,
		Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != exitRefused ||
		strings.Contains(string(out), "problem  rights") || !bytes.Contains(out,
		[]byte("warning  rights")) {
		t.Errorf("as another user: %v\n%s", err, out)
	}
}
