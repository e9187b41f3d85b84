package guest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// payloadSize is the size of the payload's disk, in bytes: a hole in a file
// until a payload is written.
const payloadSize = 1 << 30

// runScript is the name of the script below /payload.
const runScript = ".run"

func makePayloadDisk(path string) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, payloadSize)
}

// writePayload writes spec's files and script as a tar to the start of the
// disk, in place: QEMU has the file open.
func writePayload(disk string, spec Spec) (err error) {
	file, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	archive := tar.NewWriter(file)
	for name, source := range spec.Files {
		if !filepath.IsLocal(name) || name == runScript {
			return fmt.Errorf("%q cannot be a file below /payload", name)
		}
		if err := addFile(archive, name, source); err != nil {
			return err
		}
	}
	script := &tar.Header{Name: runScript, Mode: 0o644, Size: int64(len(spec.Run))}
	if err := archive.WriteHeader(script); err != nil {
		return err
	}
	if _, err := io.WriteString(archive, spec.Run); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	if info, err := file.Stat(); err != nil {
		return err
	} else if info.Size() > payloadSize {
		return fmt.Errorf("it takes %d bytes, and the disk has %d", info.Size(), payloadSize)
	}
	return nil
}

func addFile(archive *tar.Writer, name, source string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size()}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, in)
	return err
}

// readResults unpacks what the guest sends of a Run.
func readResults(archive io.Reader) (*Result, error) {
	dir, err := os.MkdirTemp("", "guest-out-")
	if err != nil {
		return nil, err
	}
	result := &Result{Dir: dir}
	if err := unpack(archive, dir); err != nil {
		result.Remove()
		return nil, err
	}
	status, err := os.ReadFile(filepath.Join(dir, "exit-status"))
	if err == nil {
		result.ExitStatus, err = strconv.Atoi(strings.TrimSpace(string(status)))
	}
	if err != nil {
		result.Remove()
		return nil, err
	}
	return result, nil
}

// unpack writes a tar's folders and regular files below dir, and nothing
// outside it; other kinds of file are left out.
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
			if err = root.MkdirAll(filepath.Dir(name), 0o755); err == nil {
				err = unpackFile(root, name, header.FileInfo().Mode(), files)
			}
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
