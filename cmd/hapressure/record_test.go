package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mountCgroup2 mounts cgroup v2 where it belongs. It may be there already, and a second
// mount on the same folder is refused.
const mountCgroup2 = `mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup`

// inCgroups runs a command in a mount namespace with cgroup v2 and without D-Bus.
func inCgroups(args ...string) []string {
	const mounts = mountCgroup2 + ` && mount -t tmpfs none /run && exec "$@"`
	return append([]string{"unshare", "--mount", "sh", "-c", mounts, "sh"}, args...)
}

// emptyGroup makes a cgroup without processes until the test ends, and returns its name.
func emptyGroup(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name := fmt.Sprintf("hapressure-test-%d.slice/lb", os.Getpid())
	c := inCgroups("mkdir", "-p", "/sys/fs/cgroup/"+name)
	if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		c := inCgroups("rmdir", "-p", "--ignore-fail-on-non-empty", "/sys/fs/cgroup/"+name)
		exec.Command(c[0], c[1:]...).Run()
	})
	return name
}

func TestRecordNeedsItsTarget(t *testing.T) {
	group, bin, file := emptyGroup(t), program(t), filepath.Join(t.TempDir(), "x.rec")
	c := inCgroups(bin, "record", "-o", file, "--target", "none.slice/lb")
	code, out := ends(t, c[0], c[1:]...)
	if code != exitFailed || !strings.Contains(out,
		"none.slice/lb is not running: start it, or use --wait") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it wrote a recording of nothing")
	}
	c = inCgroups(bin, "record", "-o", file, "--target", "none.slice/lb", "--wait")
	waits := start(t, c[0], c[1:]...)
	waits.sees(t, "Waiting for none.slice/lb")
	expectEnd(t, waits.Cmd, func() { waits.Process.Signal(syscall.SIGTERM) })
	// The path of a cgroup needs no slash at its begin.
	c = inCgroups(bin, "record", "-o", file, "--target", group)
	records := start(t, c[0], c[1:]...)
	records.sees(t, "Guarding /"+group)
	records.Process.Signal(syscall.SIGTERM)
	for records.lines.Scan() {
	}
	if err := records.Wait(); err != nil {
		t.Error(err)
	}
}

func TestRecordEndsWhenItCannotWrite(t *testing.T) {
	group := emptyGroup(t)
	c := inCgroups(program(t), "record", "-o", "/dev/full", "--target", group)
	code, out := ends(t, c[0], c[1:]...)
	if code != exitFailed || !strings.Contains(out,
		"recording: write /dev/full: no space left on device") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
