package guest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// booted is the snapshot of a guest that has booted. It has not begun to read from the
// control port.
const booted = "booted"

// resume starts the guest from a disk on which it has booted before: emulation takes most
// of a minute to boot, and a second to load a snapshot. The first guest of a kind makes
// that disk, beside its image.
//
// KVM boots in seconds, and its snapshot might not fit the CPU of another host.
func (m *machine) resume(ctx context.Context) error {
	disk, err := m.bootedDisk(ctx)
	if err != nil {
		return err
	}
	err = copyFile(ctx, disk, m.rootDisk())
	if errors.Is(err, fs.ErrNotExist) {
		if err = m.makeBootedDisk(ctx, disk); err == nil {
			err = copyFile(ctx, disk, m.rootDisk())
		}
	}
	if err != nil {
		return err
	}
	if err := m.startQEMU("-loadvm", booted); err != nil {
		return err
	}
	// The monitor answers once the snapshot is loaded.
	err = m.monitor.do(ctx, "cont")
	switch {
	case ctx.Err() != nil:
		return m.timeout(ctx)
	case err != nil:
		os.Remove(disk) // it is unusable: the next try makes a new one
		return fmt.Errorf("%w from %s: %w", errNotStarted, disk, err)
	}
	return nil
}

// bootedDisk returns the name of the disk with the snapshot. It differs for guests whose
// snapshots cannot stand in for each other.
func (m *machine) bootedDisk(ctx context.Context) (string, error) {
	qemu, err := tool(boards[m.kind.arch].qemu)
	if err != nil {
		return "", err
	}
	version, err := exec.CommandContext(ctx, qemu, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w", qemu, err)
	}
	args := strings.ReplaceAll(strings.Join(m.args(), "\n"), m.dir, "")
	hash := sha256.Sum256(append(version, args...))
	return filepath.Join(m.image, fmt.Sprintf("booted-%x.qcow2", hash[:6])), nil
}

// makeBootedDisk boots the guest, ends it, and keeps its disk. It is whole once it has
// its name.
func (m *machine) makeBootedDisk(ctx context.Context, disk string) error {
	if err := m.boot(ctx); err != nil {
		return err
	}
	_ = m.monitor.do(ctx, "quit") // closes the disk, and the connection without an answer
	select {
	case <-m.exited:
	case <-ctx.Done():
		return m.timeout(ctx)
	}
	building := disk + ".new"
	if err := copyFile(ctx, m.rootDisk(), building); err != nil {
		return err
	}
	return os.Rename(building, disk)
}

// makeRootDisk makes a disk that holds what differs from an image.
func makeRootDisk(ctx context.Context, disk, image string) error {
	return runTool(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image, disk)
}

// copyFile copies a file, without its holes. The error of a file that is not there is
// fs.ErrNotExist.
func copyFile(ctx context.Context, from, to string) error {
	if _, err := os.Stat(from); err != nil {
		return err
	}
	return runTool(ctx, "cp", "--reflink=auto", from, to)
}

func runTool(ctx context.Context, name string, args ...string) error {
	program, err := tool(name)
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
