// Package guest runs bash scripts on a throwaway Debian machine: QEMU with
// cgroup v2's memory controller, systemd as PID 1 and HAProxy, independent of
// the machine below it. A guest has no network and no swap, its disks are
// forgotten when it ends, and HAProxy is installed but not started.
package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// ErrCrashed says that a guest ended before its script: its kernel panicked,
// or QEMU did not get as far as a kernel.
var ErrCrashed = errors.New("guest crashed")

// Spec is a guest and what to run in it.
type Spec struct {
	Suite     string            // Debian release, such as "trixie"
	Arch      string            // amd64 or arm64; "" is the host's, another is emulated
	Packages  string            // of Debian, to install in addition; separated by commas
	MemoryMiB int               // 0 is 3072
	CPUs      int               // 0 is 2
	Kernel    string            // appended to the kernel's command line
	Files     map[string]string // name below /payload to a file on the host, whose mode is kept
	Run       string            // bash script, run as root in /payload in a service without limits
	Timeout   time.Duration     // for boot and run, once no other guest runs; 0 is 10 minutes
	Live      io.Writer         // gets the output of Run as it is printed; may be nil
}

// Result is the outcome of a Run.
type Result struct {
	ExitStatus int    // of Run; 1 if a signal ended it
	Output     string // stdout and stderr of Run
	Dir        string // what Run left in /out, and journal.export, journal.txt, exit-status
}

// Remove deletes the result's files.
func (r *Result) Remove() error { return os.RemoveAll(r.Dir) }

// Boot runs spec in a fresh guest and waits for its end. An error means that
// the guest failed, see [ErrCrashed] and [context.DeadlineExceeded]. A Run that
// exits non-zero is no error: see ExitStatus. When ctx ends, so does the guest.
func Boot(ctx context.Context, spec Spec) (*Result, error) {
	var lab Lab
	defer lab.Close()
	return lab.Run(ctx, spec)
}

// Lab runs one script after another, each as if on a guest that has just
// booted. It boots a guest once and then resets it to a snapshot, as long as
// the specs ask for the same kind of guest (suite, architecture, packages,
// memory, CPUs, kernel). The zero Lab is ready to use, by one goroutine at a time.
type Lab struct {
	current *machine
}

// Run is [Boot] in this Lab.
func (l *Lab) Run(ctx context.Context, spec Spec) (*Result, error) {
	spec = withDefaults(spec)
	if l.current != nil && l.current.kind != kindOf(spec) {
		l.Close()
	}
	if l.current == nil {
		m, err := start(ctx, spec)
		if err != nil {
			return nil, err
		}
		l.current = m
	} else if err := l.current.reset(ctx); err != nil {
		l.Close()
		return nil, err
	}
	result, err := l.current.run(ctx, spec)
	if err != nil {
		l.Close()
	}
	return result, err
}

// Close switches the guest off, if one runs.
func (l *Lab) Close() {
	if l.current != nil {
		l.current.close()
		l.current = nil
	}
}

// kind is what tells guests apart that cannot stand in for each other.
type kind struct {
	suite, arch, packages, kernel string
	memoryMiB, cpus               int
}

func kindOf(spec Spec) kind {
	return kind{spec.Suite, spec.Arch, spec.Packages, spec.Kernel, spec.MemoryMiB, spec.CPUs}
}

// Prepare builds the suite's image for the host's architecture unless it is
// cached, and finds out whether KVM boots it; it reports to progress. The cache
// is $HAPRESSURE_GUEST_CACHE, or hapressure/guest in [os.UserCacheDir].
func Prepare(ctx context.Context, suite string, progress io.Writer) error {
	image, err := prepare(ctx, Spec{Suite: suite, Arch: runtime.GOARCH}, progress)
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
