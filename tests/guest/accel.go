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
	"strconv"
	"time"
)

// accel is what executes a guest's instructions.
type accel string

const (
	kvm accel = "kvm"
	tcg accel = "tcg" // QEMU's emulation, ten times slower
)

// trialTimeout bounds the boot that tells whether KVM works; where it does, the boot takes a few seconds.
const trialTimeout = 45 * time.Second

// oldestTCG is the first QEMU whose TCG computes cmpxchg16b's flags rightly;
// under 7.2, kernels panic at random and HAProxy dies.
const oldestTCG = 10

// chooseAccel says by what the image runs here. A /dev/kvm that can be opened
// may still not boot a stock kernel, so a boot is tried once and its verdict
// kept beside the image; remove the file "accel" to have it tried again.
func chooseAccel(ctx context.Context, image string) (accel, error) {
	if device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		return tcg, checkQEMU(ctx)
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
	return tcg, checkQEMU(ctx)
}

func tryKVM(ctx context.Context, image string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "guest-kvm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	result, err := run(ctx, image, kvm, dir, withDefaults(Spec{Run: "true", Timeout: trialTimeout}))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil || result.ExitStatus != 0 {
		return []byte(tcg), nil
	}
	return []byte(kvm), nil
}

var qemuVersion = regexp.MustCompile(`version (\d+)\.\S*`)

func checkQEMU(ctx context.Context) error {
	qemu, err := tool("qemu-system-x86_64")
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
		return fmt.Errorf("QEMU %s miscomputes cmpxchg16b when it emulates, which makes guests crash at random;"+
			" %d or later is needed: run tests/guest/setup.sh as root", match[0], oldestTCG)
	}
	return nil
}
