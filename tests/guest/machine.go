package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cmdline: psi=1 as Debian's kernels may leave PSI off; panic=-1 ends QEMU at
// a panic (-no-reboot). nohz and highres: under TCG a timer's interrupt to an
// idle CPU was once lost, and that CPU then slept for ever (the console told of
// RCU stalls, "timer wakeup didn't happen"); with a periodic tick the next one
// wakes it. The others save seconds that emulation makes of mitigations, of the
// kernel's tests of itself and of security modules (systemd loads a BPF program
// where it finds that one).
const cmdline = "root=/dev/vda rw quiet psi=1 panic=-1 nohz=off highres=off mitigations=off tsc=reliable no_timer_check" +
	" nokaslr cryptomgr.notests random.trust_cpu=on lsm=capability audit=0"

// machine is one run of QEMU, with its files in dir.
type machine struct {
	image string
	accel accel
	dir   string
}

func (m machine) console() string     { return filepath.Join(m.dir, "console.log") }
func (m machine) out() string         { return filepath.Join(m.dir, "out") }
func (m machine) payloadDisk() string { return filepath.Join(m.dir, "payload.img") }
func (m machine) resultsDisk() string { return filepath.Join(m.dir, "results.img") }

// The emulated first CPU now and then loses its timer for good while the kernel probes for devices, about once in forty boots (QEMU 10.0 by TCG; the
// kernel's log in the guest's memory ends in the middle, and the emulator idles). That is before anything of Run's: its disks are as
// they were made, so the machine is switched on again.
const (
	startLimit = 5 * time.Minute // a machine that boots has started Run within half a minute, on a busy host in two
	startTries = 3
)

var errNotStarted = errors.New("guest did not get as far as starting Run")

// power runs QEMU until the guest powers off, and returns what Run printed.
func (m machine) power(ctx context.Context, spec Spec) (string, error) {
	for try := 1; ; try++ {
		output, err := m.powerOnce(ctx, spec)
		if !errors.Is(err, errNotStarted) || try == startTries {
			return output, err
		}
	}
}

func (m machine) powerOnce(ctx context.Context, spec Spec) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
	defer cancel()
	ctx, notStarted := context.WithCancelCause(ctx)
	defer notStarted(nil)
	qemu, err := tool(boards[spec.Arch].qemu)
	if err != nil {
		return "", err
	}
	output := &stream{live: spec.Live, started: make(chan struct{})}
	watch := time.AfterFunc(startLimit, func() {
		select {
		case <-output.started:
		default:
			notStarted(errNotStarted)
		}
	})
	defer watch.Stop()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, qemu, m.args(spec)...)
	cmd.Stdout = output
	cmd.Stderr = &stderr
	// A killed test must not leave a guest behind. The kernel ties this signal to the thread, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	err = cmd.Run()
	if err := context.Cause(ctx); errors.Is(err, errNotStarted) {
		return "", fmt.Errorf("%w within %v; %s", err, startLimit, m.consoleEnd())
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("guest killed before its end (timeout %v): %w; it had printed:\n%s\n%s",
			spec.Timeout, ctx.Err(), lastLines(output.all.String(), 10), m.consoleEnd())
	}
	if err != nil {
		return "", fmt.Errorf("%w: QEMU: %w: %s; %s", ErrCrashed, err, stderr.String(), m.consoleEnd())
	}
	log, err := os.ReadFile(m.console())
	if err != nil {
		return "", fmt.Errorf("reading the guest's console: %w", err)
	}
	if !strings.Contains(string(log), "reboot: Power down") {
		return "", fmt.Errorf("%w: %s", ErrCrashed, m.consoleEnd())
	}
	return output.all.String(), nil
}

func (m machine) args(spec Spec) []string {
	board := boards[spec.Arch]
	accel, cpu := "tcg,thread=multi,tb-size=1024", board.cpu
	if m.accel == kvm {
		accel, cpu = "kvm", "host"
	}
	drive := func(file, options string) string {
		return "file=" + strings.ReplaceAll(file, ",", ",,") + ",format=raw,if=virtio," + options
	}
	return append(board.args,
		"-accel", accel, "-cpu", cpu, "-smp", strconv.Itoa(spec.CPUs), "-m", strconv.Itoa(spec.MemoryMiB),
		"-nodefaults", "-display", "none", "-no-reboot", "-net", "none",
		"-kernel", filepath.Join(m.image, "vmlinuz"), "-initrd", filepath.Join(m.image, "initrd"), "-append", "console="+board.console+" "+cmdline+" "+spec.Kernel,
		"-drive", drive(filepath.Join(m.image, "root.img"), "snapshot=on"),
		"-drive", drive(m.payloadDisk(), "cache=unsafe"),
		"-drive", drive(m.resultsDisk(), "cache=unsafe"),
		"-serial", "file:"+m.console(),
		// Not chardev stdio: that also reads, finds stdin at its end, and tells the guest that nobody listens.
		"-chardev", "file,id=output,path=/dev/stdout",
		"-device", "virtio-serial", "-device", "virtserialport,chardev=output",
	)
}

// consoleEnd tells how the console ended, for an error: 40 lines, and all since a panic, whose first line is the cause.
func (m machine) consoleEnd() string {
	log, err := os.ReadFile(m.console())
	if err != nil {
		return fmt.Sprintf("it has no console: %v", err)
	}
	end := lastLines(string(log), 40)
	if before, panicked, found := strings.Cut(string(log), "Kernel panic"); found && !strings.Contains(end, "Kernel panic") {
		end = lastLines(before, 1) + "Kernel panic" + panicked
	}
	return fmt.Sprintf("the end of its console, %s:\n%s", m.console(), end)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// startLine is what a guest prints right before Run.
const startLine = "guest has started\n"

// stream keeps what the guest prints after startLine and passes it on. It takes whatever comes, even when live does not, or the guest
// would wait for it.
type stream struct {
	all     strings.Builder
	live    io.Writer
	started chan struct{} // closed after startLine
	head    int           // bytes of startLine that have come
}

func (s *stream) Write(p []byte) (int, error) {
	n := len(p)
	if skip := min(len(startLine)-s.head, n); skip > 0 {
		if s.head, p = s.head+skip, p[skip:]; s.head == len(startLine) {
			close(s.started)
		}
	}
	s.all.Write(p)
	if s.live != nil && len(p) > 0 {
		if _, err := s.live.Write(p); err != nil {
			s.live = nil
		}
	}
	return n, nil
}
