package haproxytest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// cached is a directory that is built once for all test processes.
type cached struct {
	dir   string
	build func(dir string) error // fills an empty directory
	check func(dir string) error // returns why the directory cannot be used
}

// ensure builds the directory unless it is there and passes its check. While one
// process builds, the others wait for it. The directory is built and checked under
// another name, so a process that is killed leaves nothing that looks complete.
func (c cached) ensure() error {
	if c.check(c.dir) == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(c.dir), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(c.dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close() // unlocks
	if err := flock(lock); err != nil {
		return fmt.Errorf("waiting for another process to build %s: %w", c.dir, err)
	}
	if c.check(c.dir) == nil {
		return nil
	}
	building := c.dir + ".building"
	for _, dir := range []string{building, c.dir} { // of a process that was killed, and broken
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	defer os.RemoveAll(building)
	if err := os.Mkdir(building, 0o755); err != nil {
		return err
	}
	if err := c.build(building); err != nil {
		return err
	}
	if err := c.check(building); err != nil {
		return fmt.Errorf("%s was built, but cannot be used: %w", c.dir, err)
	}
	return os.Rename(building, c.dir)
}

func flock(file *os.File) error {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			return err
		}
	}
}
