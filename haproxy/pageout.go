package haproxy

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageOutChunk bounds what one call writes to swap, in bytes: between two calls it can be stopped.
const pageOutChunk = 16 << 20

// PageOut moves a worker's memory to swap: its heap and stacks, and its shared memory as far as its own page tables show it. It returns
// what of this was in RAM before and after. Nothing is lost, and what the worker still uses comes back as it is touched. Pages that another
// process shares, such as those a master has in common with its workers, stay (mm/madvise.c, madvise_pageout). Without room in
// swap nothing happens.
//
// It needs CAP_SYS_NICE and ptrace access (process_madvise(2), Linux 5.10).
func (p *Process) PageOut(ctx context.Context) (Given, error) {
	maps, err := ReadMaps(p.procfs, p.PID, func(m Mapping) bool { return m.Perms == "rw-p" && m.Inode == 0 || m.Shared() })
	if err != nil {
		return Given{}, err
	}
	var g Given
	if g.Before, err = p.inRAM(); err != nil {
		return g, err
	}
	for _, m := range maps {
		if err = p.pageOut(ctx, m); err != nil {
			break
		}
	}
	after, rerr := p.inRAM()
	if g.After = after; rerr != nil {
		g.After = g.Before
	}
	return g, errors.Join(err, rerr)
}

func (p *Process) pageOut(ctx context.Context, m Mapping) error {
	for at := m.Start; at < m.End; at += pageOutChunk {
		if ctx.Err() != nil {
			return fmt.Errorf("paging out pid %d: %w", p.PID, ctx.Err())
		}
		// The range is of the worker's address space: for us it is a number.
		iov := struct{ base, len uint64 }{at, min(pageOutChunk, m.End-at)}
		_, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(p.pidfd), uintptr(unsafe.Pointer(&iov)), 1, unix.MADV_PAGEOUT, 0, 0)
		switch errno {
		case 0, unix.EINTR:
		case unix.ENOMEM, unix.EINVAL:
			return nil // the mapping has changed meanwhile, or is of a kind that is not paged out
		case unix.ESRCH:
			return ErrGone
		default:
			return fmt.Errorf("paging out pid %d: %w", p.PID, errno)
		}
	}
	return nil
}

// inRAM is what PageOut works on, in bytes.
func (p *Process) inRAM() (uint64, error) {
	st, err := readStatus(p.procfs, p.PID)
	return st.rssAnon + st.rssShmem, err
}
