package haproxy

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// tableMost bounds the table of its pools that a worker writes to standard error, in bytes: it is made in one buffer (src/pool.c,
// dump_pools_to_trash; tune.bufsize is 16 KiB by default).
const tableMost = 64 << 10

// stderrTakesTable returns nil if a write of tableMost bytes to the worker's standard error does not wait for a reader. The error is a
// *Refusal if that does not change by itself. Another process may fill a pipe between this check and the write.
func (p *Process) stderrTakesTable() error {
	var st unix.Stat_t
	if err := unix.Stat(p.path("fd/2"), &st); err != nil {
		return fmt.Errorf("checking standard error of pid %d: %w", p.PID, err)
	}
	kind := st.Mode & unix.S_IFMT
	switch {
	case kind == unix.S_IFREG: // the page cache takes it
		return nil
	case kind == unix.S_IFCHR && uint64(st.Rdev) == unix.Mkdev(1, 3): // /dev/null
		return nil
	case kind != unix.S_IFIFO && kind != unix.S_IFSOCK:
		return fmt.Errorf("%w: it is a terminal, a device or of an unknown kind", errStderrMayBlock)
	}
	fd, err := unix.PidfdGetfd(p.pidfd, 2, 0)
	if err != nil {
		return fmt.Errorf("copying standard error of pid %d: %w", p.PID, err)
	}
	defer func() { go unix.Close(fd) }() // of a socket that the worker has given a long SO_LINGER it takes as long
	var size, queued int
	switch kind {
	case unix.S_IFIFO:
		if size, err = unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0); err == nil {
			queued, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
		}
	case unix.S_IFSOCK:
		domain, derr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if derr != nil || domain != unix.AF_UNIX {
			return fmt.Errorf("%w: it is a socket of another kind than journald's", errStderrMayBlock)
		}
		if size, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
			queued, err = unix.IoctlGetInt(fd, unix.TIOCOUTQ)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("checking standard error of pid %d: %w", p.PID, err)
	case size < tableMost:
		return fmt.Errorf("%w: its pipe or socket holds %d bytes, want %d", errStderrMayBlock, size, tableMost)
	case queued > 0: // what is free is not known by the byte: each write may take a page
		return fmt.Errorf("standard error of pid %d has %d bytes that no process has read, and the worker would wait: SIGQUIT was not sent", p.PID, queued)
	}
	return nil
}
