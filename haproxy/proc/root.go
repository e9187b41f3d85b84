package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenAt finds a file by the path that it has for a process: below the process's root
// directory, or below its working directory if the path is relative. A link in the file
// system of a container leads nowhere else. The file is only found (O_PATH); Reopen opens
// it.
func OpenAt(procfs string, pid int, name string) (*os.File, error) {
	from := "cwd"
	if strings.HasPrefix(name, "/") {
		from = "root"
	}
	from = filepath.Join(procfs, strconv.Itoa(pid), from)
	dir, err := unix.Open(from, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", from, err)
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(dir, name, &how)
	if err != nil {
		return nil, fmt.Errorf("opening %.100q in %s: %w", name, from, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Reopen opens the file that f refers to, with the flags of os.OpenFile. Its errors have
// the name of f.
func Reopen(f *os.File, flags int) (*os.File, error) {
	opened, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags, 0)
	var of *fs.PathError
	if errors.As(err, &of) {
		of.Path = f.Name()
	}
	return opened, err
}
