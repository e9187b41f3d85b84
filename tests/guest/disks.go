package guest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Room beside the payload for what Run writes there, and room for its results.
// Both are holes in files until something is written.
const (
	payloadRoom = 256 << 20
	resultsRoom = 4 << 30
)

// runScript is where guest-run finds Run below /payload.
const runScript = ".run"

// makeDisks writes the payload's disk, ext4 without mounting anything here, and an empty one for results.
func (m machine) makeDisks(ctx context.Context, spec Spec) error {
	staging := filepath.Join(m.dir, "payload")
	defer os.RemoveAll(staging)
	size, err := stage(staging, spec)
	if err != nil {
		return fmt.Errorf("staging the payload: %w", err)
	}
	mke2fs, err := tool("mke2fs")
	if err != nil {
		return err
	}
	kib := (size + size/8 + payloadRoom) >> 10
	said, err := exec.CommandContext(ctx, mke2fs, "-q", "-t", "ext4", "-d", staging,
		m.payloadDisk(), strconv.FormatInt(kib, 10)+"k").CombinedOutput()
	if err != nil {
		return fmt.Errorf("making the payload's disk: mke2fs: %w: %s", err, said)
	}
	if err := os.WriteFile(m.resultsDisk(), nil, 0o644); err != nil {
		return fmt.Errorf("making the results' disk: %w", err)
	}
	return os.Truncate(m.resultsDisk(), resultsRoom)
}

func (m machine) removeDisks() {
	os.Remove(m.payloadDisk())
	os.Remove(m.resultsDisk())
}

// stage copies the payload's files into dir and returns their bytes.
func stage(dir string, spec Spec) (size int64, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	for name, source := range spec.Files {
		if !filepath.IsLocal(name) || name == runScript {
			return 0, fmt.Errorf("%q cannot be a file below /payload", name)
		}
		target := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return 0, err
		}
		n, err := copyFile(target, source)
		if err != nil {
			return 0, err
		}
		size += n
	}
	script := "echo " + strings.TrimSuffix(startLine, "\n") + "; " + spec.Run // on one line: the others keep their numbers
	return size, os.WriteFile(filepath.Join(dir, runScript), []byte(script), 0o644)
}

func copyFile(target, source string) (int64, error) {
	in, err := os.Open(source)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return 0, err
	}
	out, err := os.Create(target)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, in)
	return n, errors.Join(err, out.Chmod(info.Mode().Perm()), out.Close())
}

// results unpacks the results' disk into m.out and returns Run's exit status.
func (m machine) results() (int, error) {
	disk, err := os.Open(m.resultsDisk())
	if err != nil {
		return 0, err
	}
	defer disk.Close()
	if err := os.Mkdir(m.out(), 0o755); err != nil {
		return 0, err
	}
	if err := unpack(disk, m.out()); err != nil {
		return 0, err
	}
	status, err := os.ReadFile(filepath.Join(m.out(), "exit-status"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(status)))
}

// unpack writes a tar's folders and regular files below dir, and nothing outside it; other kinds are left out.
func unpack(archive io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for files := tar.NewReader(archive); ; {
		header, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(header.Name)
		switch header.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = unpackFile(root, name, header.FileInfo().Mode(), files)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, mode os.FileMode, content io.Reader) error {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode.Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
