// Package input reads files whose names a user passes, or that another process may have
// replaced.
//
// It opens only regular files: a device or a FIFO may block for ever, have no end, or
// have side effects when it is opened. It reads at most a given number of bytes.
package input

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrTooLarge is wrapped by the errors for files that are larger than their limit.
var ErrTooLarge = errors.New("the file is too large")

// File is a file that is open for reading, up to its limit.
type File struct {
	f    *os.File
	name string
	size limit
	left int64 // bytes to read, one more than the limit allows
}

// limit is the largest size of a file, in bytes.
type limit int64

func (l limit) String() string {
	if l >= 1<<20 {
		return fmt.Sprintf("%d MiB", l>>20)
	}
	return fmt.Sprintf("%d bytes", int64(l))
}

// Open opens a regular file of at most max bytes. It follows links. It first resolves the
// name with O_PATH, which has no side effect, and opens the result if that is a regular
// file.
func Open(name string, max int64) (*File, error) {
	place, err := os.OpenFile(name, unix.O_PATH, 0)
	if err != nil {
		return nil, pathError(name, err)
	}
	defer place.Close()
	switch info, err := place.Stat(); {
	case err != nil:
		return nil, pathError(name, err)
	case !info.Mode().IsRegular():
		return nil, pathError(name, fmt.Errorf("it is %s, not a regular file", kind(info.Mode())))
	case info.Size() > max:
		return nil, pathError(name, tooLarge(limit(max)))
	}
	f, err := reopen(place)
	if err != nil {
		return nil, pathError(name, err)
	}
	return &File{f, name, limit(max), max + 1}, nil
}

// reopen opens a file for reading that was opened with O_PATH. Without /proc, as in a
// chroot, it opens the name again and checks that this is the same file. It never blocks.
func reopen(place *os.File) (*os.File, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", place.Fd()), unix.O_NONBLOCK, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if f, err = os.OpenFile(place.Name(), unix.O_NONBLOCK|unix.O_NOCTTY, 0); err != nil {
		return nil, err
	}
	was, err := place.Stat()
	is, ierr := f.Stat()
	if err = errors.Join(err, ierr); err == nil && !os.SameFile(was, is) {
		err = errors.New("another file has replaced it")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// OpenOrStdin does what Open does. If the name is "-", it returns standard input, which
// may be of any kind.
func OpenOrStdin(name string, max int64) (*File, error) {
	if name == "-" {
		return &File{os.Stdin, "standard input", limit(max), max + 1}, nil
	}
	return Open(name, max)
}

// ReadFile reads a regular file of at most max bytes.
func ReadFile(name string, max int64) ([]byte, error) {
	f, err := Open(name, max)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Read fails after more than the limit was read: the file may have grown since it was
// opened.
func (f *File) Read(b []byte) (int, error) {
	if int64(len(b)) > f.left {
		b = b[:f.left]
	}
	n, err := f.f.Read(b)
	if f.left -= int64(n); f.left <= 0 {
		return n, &fs.PathError{Op: "read", Path: f.name, Err: tooLarge(f.size)}
	}
	if err != nil && err != io.EOF {
		err = &fs.PathError{Op: "read", Path: f.name, Err: cause(err)}
	}
	return n, err
}

// Name returns the name with which the file was opened.
func (f *File) Name() string { return f.name }

// Stat returns the attributes of the open file.
func (f *File) Stat() (fs.FileInfo, error) { return f.f.Stat() }

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

func tooLarge(max limit) error { return fmt.Errorf("%w: the limit is %s", ErrTooLarge, max) }

func pathError(name string, err error) error {
	return &fs.PathError{Op: "open", Path: name, Err: cause(err)}
}

// cause returns the error in an error of package os, whose path may be one in /proc.
func cause(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}
