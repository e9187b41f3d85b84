package proc

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// A failure to find the device of shared memory is not kept: the next purge tries again.
// It runs in a process of its own, in which the device is not known yet and no other test
// needs descriptors.
func TestShmemDevRecoversFromAFailure(t *testing.T) {
	const child = "HAPRESSURE_SHMEM_DEV_CHILD"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := shmemDev()
	if restored := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); restored != nil {
		t.Fatal(restored)
	}
	if !errors.Is(err, unix.EMFILE) {
		t.Fatalf("without a free descriptor: %v, want %v", err, unix.EMFILE)
	}
	dev, err := shmemDev()
	if err != nil || dev == "" {
		t.Fatalf("with free descriptors again: %q, %v", dev, err)
	}
	if again, err := shmemDev(); err != nil || again != dev {
		t.Errorf("the known device: %q, %v, want %q", again, err, dev)
	}
}
