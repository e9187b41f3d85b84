package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"time"
)

// accel is what executes a guest's instructions.
type accel string

const (
	kvm accel = "kvm"
	tcg accel = "tcg" // QEMU's emulation, ten times slower
)

// trialTimeout bounds the boot that tells whether KVM works; where it does, the boot
// takes a few seconds.
const trialTimeout = 45 * time.Second

// oldestTCG is the first QEMU whose TCG computes cmpxchg16b's flags rightly;
// under 7.2, kernels panic at random and HAProxy dies.
const oldestTCG = 10

// A board is what QEMU makes a machine of.
type board struct {
	qemu    string   // the program
	args    []string // of the machine
	cpu     string   // that is emulated
	console string   // the kernel's name of the first serial port
}

// boards are by architecture. neoverse-n1 is what clouds have; "max" would have
// pointers authenticated, which takes an emulator half of its time.
var boards = map[string]board{
	"amd64": {"qemu-system-x86_64", []string{"-machine", "pc,i8042=off"}, "max", "ttyS0"},
	"arm64": {"qemu-system-aarch64", []string{"-machine", "virt"}, "neoverse-n1", "ttyAMA0"},
}

// chooseAccel says by what the image runs here. A /dev/kvm that can be opened
// may still not boot a stock kernel, so a boot is tried once and its verdict
// kept beside the image; remove the file "accel" to have it tried again.
func chooseAccel(ctx context.Context, image, arch string) (accel, error) {
	if arch != runtime.GOARCH {
		return tcg, checkQEMU(ctx, arch)
	}
	if device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		return tcg, checkQEMU(ctx, arch)
	} else {
		device.Close()
	}
	file := filepath.Join(image, "accel")
	verdict, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		verdict, err = tryKVM(ctx, image)
		if err == nil {
			err = os.WriteFile(file, verdict, 0o644)
		}
	}
	if err != nil {
		return "", fmt.Errorf("finding out whether KVM boots: %w", err)
	}
	if accel(verdict) == kvm {
		return kvm, nil
	}
	return tcg, checkQEMU(ctx, arch)
}

func tryKVM(ctx context.Context, image string) ([]byte, error) {
	spec := withDefaults(Spec{Timeout: trialTimeout})
	m, err := startOn(ctx, image, kvm, spec)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return []byte(tcg), nil
	}
	m.close()
	return []byte(kvm), nil
}

var qemuVersion = regexp.MustCompile(`version (\d+)\.\S*`)

func checkQEMU(ctx context.Context, arch string) error {
	qemu, err := tool(boards[arch].qemu)
	if err != nil {
		return err
	}
	said, err := exec.CommandContext(ctx, qemu, "--version").Output()
	if err != nil {
		return fmt.Errorf("asking %s for its version: %w", qemu, err)
	}
	return checkVersion(string(said))
}

func checkVersion(said string) error {
	match := qemuVersion.FindStringSubmatch(said)
	if match == nil {
		return fmt.Errorf("%q has no QEMU version", said)
	}
	if major, err := strconv.Atoi(match[1]); err != nil || major < oldestTCG {
		return fmt.Errorf("QEMU %s miscomputes cmpxchg16b when it emulates, which makes guests "+
			"crash at random; %d or later is needed: run tests/guest/setup.sh as root", match[0], oldestTCG)
	}
	return nil
}
