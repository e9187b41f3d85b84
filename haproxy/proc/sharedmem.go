package proc

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrChanged means that the process changed its mappings while they were read.
var ErrChanged = errors.New("changed while it was read")

// SharedMaps lists the mappings of all anonymous memory that the process may share with
// others, the largest first. Not each of them is Shared.
func (p *Process) SharedMaps() ([]Mapping, error) {
	dev, err := shmemDev()
	if err != nil {
		return nil, err
	}
	maps, err := p.Maps(func(m Mapping) bool { return m.Dev == dev })
	slices.SortFunc(maps, func(a, b Mapping) int { return cmp.Compare(b.Len(), a.Len()) })
	return maps, err
}

// shmemDev returns the device, as /proc/PID/maps shows it, of the memory that the kernel
// makes for MAP_SHARED|MAP_ANONYMOUS. The name of a mapping proves nothing: in a mount
// namespace of its own a process can have a file that resembles anonymous memory, but
// that it can truncate at any time.
//
// The device is the same until the next boot, so it is kept once it is known. An error is
// not kept: its cause (no free file descriptor, no memory) passes, and the next call
// tries again.
func shmemDev() (string, error) {
	if dev := knownShmemDev.Load(); dev != nil {
		return *dev, nil
	}
	dev, err := findShmemDev()
	if err != nil {
		return "", err
	}
	knownShmemDev.Store(&dev)
	return dev, nil
}

var knownShmemDev atomic.Pointer[string]

func findShmemDev() (string, error) {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		return "", fmt.Errorf("mapping a page of shared memory: %w", err)
	}
	defer unix.Munmap(page)
	start := uint64(uintptr(unsafe.Pointer(&page[0])))
	maps, err := ReadMaps("/proc", os.Getpid(), func(m Mapping) bool {
		return start >= m.Start && start < m.End && m.Inode != 0
	})
	if err == nil && len(maps) != 1 {
		err = errors.New("the page just mapped is not there")
	}
	if err != nil {
		return "", fmt.Errorf("reading the mappings of this process: %w", err)
	}
	return maps[0].Dev, nil
}

// SharedFile is the memory of one shared mapping, pinned: the file refers to the inode. A
// write reaches only that memory, whatever happens to the process or its address space.
// While the file is open the memory outlives its process, so close it soon.
type SharedFile struct {
	*os.File
	Mapping Mapping
}

// OpenMapping pins the memory of m, which SharedMaps returned, for reading or writing
// (os.O_RDONLY, os.O_RDWR). ErrChanged: another mapping or none has its addresses by now.
//
// It needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE, and ptrace access to the process
// (fs/proc/base.c, proc_map_files_get_link).
func (p *Process) OpenMapping(m Mapping, flags int) (*SharedFile, error) {
	f, err := p.openMapping(m, flags)
	if err != nil {
		return nil, fmt.Errorf("opening a mapping of pid %d: %w", p.PID, err)
	}
	return &SharedFile{f, m}, nil
}

// openMapping does not open the file (O_PATH) before it has proven to be the memory of m.
// By then the same addresses can belong to a file or a device.
func (p *Process) openMapping(m Mapping, flags int) (*os.File, error) {
	f, err := os.OpenFile(p.Path(m.File()), unix.O_PATH, 0)
	switch {
	case errors.Is(err, os.ErrNotExist) && p.Alive():
		return nil, fmt.Errorf("the mapping is gone: %w", ErrChanged)
	case err != nil:
		return nil, goneError(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	dev := fmt.Sprintf("%02x:%02x", unix.Major(st.Dev), unix.Minor(st.Dev))
	if st.Ino != m.Inode || dev != m.Dev {
		return nil, fmt.Errorf("inode %d instead of %d: %w", st.Ino, m.Inode, ErrChanged)
	}
	return Reopen(f, flags)
}

// Resident returns the bytes that the inode holds, in RAM or in swap, whichever process's
// page tables show them (stat(2): st_blocks counts 512 bytes). RSS would miss what
// another process has filled.
func (s *SharedFile) Resident() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(s.Fd()), &st); err != nil {
		return 0, fmt.Errorf("measuring shared memory: %w", err)
	}
	return uint64(st.Blocks) * 512, nil
}

// Resident returns what the memory of a mapping holds, in bytes. See SharedFile.Resident.
func (p *Process) Resident(m Mapping) (uint64, error) {
	f, err := p.OpenMapping(m, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Resident()
}

// Punch frees the memory in a range of the inode, in bytes. The mapping stays, and a page
// there that is read again reads as zeros (fallocate(2), FALLOC_FL_PUNCH_HOLE;
// mm/shmem.c, shmem_fallocate).
func (s *SharedFile) Punch(off, n int64) error {
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	for {
		err := unix.Fallocate(int(s.Fd()), mode, off, n)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
