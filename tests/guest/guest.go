// Package guest runs a bash script on a throwaway Debian machine: QEMU with
// cgroup v2's memory controller, systemd as PID 1 and HAProxy, whatever the
// machine under it has. A guest has no network and no swap, its disks are
// forgotten when it ends, and HAProxy is installed but not started.
package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// ErrCrashed says that a guest ended without powering itself off: its kernel
// panicked, or QEMU did not get as far as a kernel.
var ErrCrashed = errors.New("guest crashed")

// Spec is a guest and what to run in it.
type Spec struct {
	Suite     string            // Debian release, such as "trixie"
	Arch      string            // as Go and Debian name it: amd64 or arm64; "" is this machine's, another is emulated
	MemoryMiB int               // 0 is 3072
	CPUs      int               // 0 is 2
	Kernel    string            // more of its command line
	Files     map[string]string // name below /payload in the guest to a file on this machine, whose mode is kept
	Run       string            // bash script, run as root in /payload by a service of its own, outside any limit
	Timeout   time.Duration     // for boot and run, counted once no other guest runs; 0 is 10 minutes
	Live      io.Writer         // gets what Run prints, as it prints it; may be nil
}

// Result is what came of a Run.
type Result struct {
	ExitStatus int    // of Run; 1 where a signal ended it
	Output     string // stdout and stderr of Run
	Dir        string // what Run left in /out, and journal.export, journal.txt (short-precise), exit-status
	Console    string // path of the console's log
}

// Remove deletes the result's files. Who boots a guest calls it when done.
func (r *Result) Remove() error { return os.RemoveAll(filepath.Dir(r.Dir)) }

// Boot runs spec in a fresh guest and waits for its end; guests of several
// processes run one after another. An error means that the guest failed, see
// [ErrCrashed] and [context.DeadlineExceeded]: a Run that exits non-zero is
// an ExitStatus. When ctx ends, so does the guest.
func Boot(ctx context.Context, spec Spec) (*Result, error) {
	spec = withDefaults(spec)
	image, err := prepare(ctx, spec.Suite, spec.Arch, io.Discard)
	if err != nil {
		return nil, err
	}
	accel, err := chooseAccel(ctx, image, spec.Arch)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "guest-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the guest: %w", err)
	}
	return run(ctx, image, accel, dir, spec)
}

// Prepare builds the suite's image for this machine's architecture unless it is cached, and finds out whether
// KVM boots it; progress gets what is being done. The cache is
// $HAPRESSURE_GUEST_CACHE, or hapressure/guest in [os.UserCacheDir].
func Prepare(ctx context.Context, suite string, progress io.Writer) error {
	image, err := prepare(ctx, suite, runtime.GOARCH, progress)
	if err != nil {
		return err
	}
	accel, err := chooseAccel(ctx, image, runtime.GOARCH)
	if err != nil {
		return err
	}
	fmt.Fprintf(progress, "guest %s is in %s and runs by %s\n", suite, image, accel)
	return nil
}

func withDefaults(spec Spec) Spec {
	if spec.Arch == "" {
		spec.Arch = runtime.GOARCH
	}
	if spec.MemoryMiB == 0 {
		spec.MemoryMiB = 3072
	}
	if spec.CPUs == 0 {
		spec.CPUs = 2
	}
	if spec.Timeout == 0 {
		spec.Timeout = 10 * time.Minute
	}
	return spec
}

// run boots the image once, as the only guest of this user's, with its files in dir.
func run(ctx context.Context, image string, accel accel, dir string, spec Spec) (*Result, error) {
	unlock, err := lock(ctx, filepath.Join(filepath.Dir(image), "running.lock"))
	if err != nil {
		return nil, fmt.Errorf("waiting for another guest to end: %w", err)
	}
	defer unlock()

	m := machine{image: image, accel: accel, dir: dir}
	defer m.removeDisks()
	if err := m.makeDisks(ctx, spec); err != nil {
		return nil, err
	}
	output, err := m.power(ctx, spec)
	if err != nil {
		return nil, err
	}
	status, err := m.results()
	if err != nil {
		return nil, fmt.Errorf("reading the guest's results: %w; %s", err, m.consoleEnd())
	}
	return &Result{ExitStatus: status, Output: output, Dir: m.out(), Console: m.console()}, nil
}
