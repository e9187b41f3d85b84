// Package input reads files that a user names, or that another process may have put in their place.
//
// Only regular files are opened: a device or a FIFO may block for ever, have no end, or act when it is opened.
// What is read of a file is bounded.
package input

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrTooLarge is wrapped by the errors of files that are larger than their limit.
var ErrTooLarge = errors.New("the file is too large")

// File is a file that is open for reading, and of which no more than its limit can be read.
type File struct {
	f    *os.File
	name string
	size limit
	left int64 // bytes, of the limit and one more
}

// limit is the largest size of a file, in bytes.
type limit int64

func (l limit) String() string {
	if l >= 1<<20 {
		return fmt.Sprintf("%d MiB", l>>20)
	}
	return fmt.Sprintf("%d bytes", int64(l))
}

// Open opens a regular file of at most max bytes. It follows links. The place is found first (O_PATH), which opens
// nothing; what is found there is opened if it is a regular file.
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

// reopen opens for reading what was found at a place. Without /proc, as in a chroot, it opens the name once more, and makes sure
// that this is the same file; nothing blocks if it is not.
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
		err = errors.New("another file has taken its place")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// OpenOrStdin opens a regular file as Open does, or standard input, whatever that is, if the name is "-".
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

// Read fails once more than the limit was read: the file may have grown since it was opened.
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

// Name returns the name that the file was opened by.
func (f *File) Name() string { return f.name }

// Stat describes the open file.
func (f *File) Stat() (fs.FileInfo, error) { return f.f.Stat() }

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

func tooLarge(max limit) error { return fmt.Errorf("%w: the limit is %s", ErrTooLarge, max) }

func pathError(name string, err error) error {
	return &fs.PathError{Op: "open", Path: name, Err: cause(err)}
}

// cause returns what an error of package os wraps: the path in it may be one of /proc.
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
