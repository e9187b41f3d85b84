package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cmdline is the kernel's command line.
//
// psi=1, because Debian's kernels may leave PSI off. panic=-1 ends QEMU at a
// panic (-no-reboot). nohz and highres: under TCG a timer's interrupt to an
// idle CPU was once lost, and that CPU then slept for ever (the console had RCU
// stalls, "timer wakeup didn't happen"); with a periodic tick the next one wakes
// it. The others save seconds that emulation spends on mitigations, on the
// kernel's tests of itself and on security modules (systemd loads a BPF program
// if it finds that one). nowatchdog, because a CPU that the host holds up is no fault.
const cmdline = "root=/dev/vda rw quiet psi=1 panic=-1 nohz=off highres=off mitigations=off" +
	" tsc=reliable no_timer_check nokaslr cryptomgr.notests random.trust_cpu=on" +
	" lsm=capability audit=0 nowatchdog"

// The emulated first CPU now and then loses its timer for good while the kernel
// probes for devices, about once in forty boots (QEMU 10.0 by TCG; the kernel's
// log in the guest's memory ends in the middle, and the emulator idles). No
// script has run by then, so the machine is switched on again.
const (
	startLimit = 5 * time.Minute // a boot takes half a minute, on a busy host two
	startTries = 3
)

var errNotStarted = errors.New("guest did not become ready")

// machine is one run of QEMU that has booted and waits for a script.
//
// The guest's side of the two ports is image/usr/local/libexec/guest-run.
type machine struct {
	image   string
	accel   accel
	kind    kind
	dir     string // of its files
	unlock  func() // lets the next guest start
	output  *stream
	monitor *monitor
	control net.Conn      // takes "go", gives the results as a tar
	kill    func()        // ends QEMU
	exited  chan struct{} // closed when QEMU has ended
	err     error         // of QEMU, once it has
}

func (m *machine) console() string       { return filepath.Join(m.dir, "console.log") }
func (m *machine) rootDisk() string      { return filepath.Join(m.dir, "root.qcow2") }
func (m *machine) payloadDisk() string   { return filepath.Join(m.dir, "payload.img") }
func (m *machine) controlSocket() string { return filepath.Join(m.dir, "control") }
func (m *machine) monitorSocket() string { return filepath.Join(m.dir, "monitor") }

// start boots a guest of spec's kind, as the only one of this user, and waits
// until it is ready for a script.
func start(ctx context.Context, spec Spec) (*machine, error) {
	image, err := prepare(ctx, spec, nil)
	if err != nil {
		return nil, err
	}
	accel, err := chooseAccel(ctx, image, spec.Arch)
	if err != nil {
		return nil, err
	}
	return startOn(ctx, image, accel, spec)
}

func startOn(ctx context.Context, image string, accel accel, spec Spec) (*machine, error) {
	unlock, err := lock(ctx, filepath.Join(filepath.Dir(image), "running.lock"))
	if err != nil {
		return nil, fmt.Errorf("waiting for another guest to end: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
	defer cancel()
	for try := 1; ; try++ {
		m := &machine{image: image, accel: accel, kind: kindOf(spec), unlock: unlock}
		err := m.powerOn(ctx)
		if err == nil {
			return m, nil
		}
		m.powerOff()
		if !errors.Is(err, errNotStarted) || try == startTries {
			unlock()
			return nil, err
		}
	}
}

// powerOn starts QEMU and waits until the guest is ready.
func (m *machine) powerOn(ctx context.Context) (err error) {
	if m.dir, err = os.MkdirTemp("", "guest-"); err != nil {
		return fmt.Errorf("making a folder for the guest: %w", err)
	}
	if err := makePayloadDisk(m.payloadDisk()); err != nil {
		return err
	}
	if m.accel == tcg {
		err = m.resume(ctx)
	} else {
		err = m.boot(ctx)
	}
	if err != nil {
		return err
	}
	if m.control, err = net.Dial("unix", m.controlSocket()); err != nil {
		return fmt.Errorf("connecting to the guest: %w", err)
	}
	return nil
}

// boot has the guest boot from the image, and takes the snapshot that reset goes back to.
func (m *machine) boot(ctx context.Context) error {
	if err := makeRootDisk(ctx, m.rootDisk(), filepath.Join(m.image, "root.img")); err != nil {
		return err
	}
	if err := m.startQEMU(); err != nil {
		return err
	}
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case <-m.output.mark:
	case <-m.exited:
		return m.crash()
	case <-limit.C:
		return fmt.Errorf("%w within %v; %s", errNotStarted, startLimit, m.consoleEnd())
	case <-ctx.Done():
		return m.timeout(ctx)
	}
	return m.monitor.do(ctx, "savevm "+booted)
}

// startQEMU starts QEMU with further arguments.
func (m *machine) startQEMU(more ...string) error {
	qemu, err := tool(boards[m.kind.arch].qemu)
	if err != nil {
		return err
	}
	if m.monitor, err = listenForMonitor(m.monitorSocket()); err != nil {
		return err
	}
	listener := m.monitor.listener
	ctx, cancel := context.WithCancel(context.Background())
	m.kill, m.exited = cancel, make(chan struct{})
	m.output = newStream()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, qemu, append(m.args(), more...)...)
	cmd.Stdout, cmd.Stderr = m.output, &stderr
	// A killed test must not leave a guest behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	go func() {
		// The kernel ties the signal to the thread that started QEMU.
		runtime.LockOSThread()
		defer close(m.exited)
		defer listener.Close()
		if err := cmd.Run(); err != nil {
			m.err = fmt.Errorf("QEMU: %w: %s", err, stderr.String())
		}
	}()
	return nil
}

// reset takes the guest back to the moment when it had booted.
func (m *machine) reset(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return m.monitor.do(ctx, "loadvm "+booted)
}

// run runs spec's script and gathers its results.
func (m *machine) run(ctx context.Context, spec Spec) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
	defer cancel()
	if err := writePayload(m.payloadDisk(), spec); err != nil {
		return nil, fmt.Errorf("writing the payload: %w", err)
	}
	m.output.begin(spec.Live)
	if _, err := m.control.Write([]byte("go\n")); err != nil {
		return nil, m.crash()
	}
	select {
	case <-m.output.mark:
	case <-m.exited:
		return nil, m.crash()
	case <-ctx.Done():
		return nil, m.timeout(ctx)
	}
	defer context.AfterFunc(ctx, func() { m.control.SetReadDeadline(time.Now()) })()
	result, err := readResults(m.control)
	if err != nil {
		return nil, fmt.Errorf("reading the guest's results: %w; %s", err, m.consoleEnd())
	}
	result.Output = m.output.text()
	return result, nil
}

func (m *machine) crash() error {
	<-m.exited
	return fmt.Errorf("%w: %w; %s", ErrCrashed, m.err, m.consoleEnd())
}

func (m *machine) timeout(ctx context.Context) error {
	return fmt.Errorf("guest did not end in time: %w; it had printed:\n%s\n%s",
		context.Cause(ctx), lastLines(m.output.text(), 10), m.consoleEnd())
}

// powerOff ends QEMU and removes its files.
func (m *machine) powerOff() {
	if m.control != nil {
		m.control.Close()
	}
	if m.kill != nil {
		m.kill()
		<-m.exited
		m.monitor.close()
	}
	os.RemoveAll(m.dir)
}

func (m *machine) close() {
	m.powerOff()
	m.unlock()
}

func (m *machine) args() []string {
	board := boards[m.kind.arch]
	accel, cpu := "tcg,thread=multi,tb-size=1024", board.cpu
	if m.accel == kvm {
		accel, cpu = "kvm", "host"
	}
	escape := func(file string) string { return strings.ReplaceAll(file, ",", ",,") }
	return append(board.args,
		"-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(m.kind.cpus), "-m", strconv.Itoa(m.kind.memoryMiB),
		"-nodefaults", "-display", "none", "-no-reboot", "-net", "none",
		"-kernel", filepath.Join(m.image, "vmlinuz"), "-initrd", filepath.Join(m.image, "initrd"),
		"-append", "console="+board.console+" "+cmdline+" "+m.kind.kernel,
		"-drive", "file="+escape(m.rootDisk())+",format=qcow2,if=virtio",
		"-drive", "file="+escape(m.payloadDisk())+",format=raw,if=virtio,readonly=on",
		"-serial", "file:"+m.console(),
		// Not chardev stdio: that also reads, finds stdin at its end, and closes the
		// port.
		"-chardev", "file,id=output,path=/dev/stdout",
		"-chardev", "socket,id=control,server=on,wait=off,path="+escape(m.controlSocket()),
		"-device", "virtio-serial",
		"-device", "virtserialport,chardev=output",
		"-device", "virtserialport,chardev=control",
		"-qmp", "unix:"+escape(m.monitorSocket()),
	)
}

// consoleEnd is how the console ended, for an error: 40 lines, or all since a
// panic, whose first line is the cause.
func (m *machine) consoleEnd() string {
	log, err := os.ReadFile(m.console())
	if err != nil {
		return fmt.Sprintf("it has no console: %v", err)
	}
	end := lastLines(string(log), 40)
	before, panicked, found := strings.Cut(string(log), "Kernel panic")
	if found && !strings.Contains(end, "Kernel panic") {
		end = lastLines(before, 1) + "Kernel panic" + panicked
	}
	return fmt.Sprintf("the end of its console:\n%s", end)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
