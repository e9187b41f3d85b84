package daemon

import (
	"os"

	"golang.org/x/sys/unix"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/haproxy/proc"
)

// LeaveHugePages executes the program anew if the kernel may give it transparent huge pages: of 2 MiB it would use little, and has some by
// the time that it can say so. The setting survives execve(2) (PR_SET_THP_DISABLE(2const)). If that fails it goes on as it is. It must come before
// signals are taken, which would be lost.
func LeaveHugePages() {
	if off, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0); err != nil || off != 0 {
		return
	}
	if exe, err := os.Executable(); err == nil && unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0) == nil {
		_ = unix.Exec(exe, os.Args, os.Environ())
	}
}

// lockResident locks what is used of the program, which is page cache, often on another group's account, and goes when the host thrashes. What only the
// start needed is let go of first. Go's heap is given back all the same. Without the right to lock we are as slow as everybody else.
func lockResident() {
	exe, _ := os.Executable()
	unused, _ := proc.ReadMaps(host.Procfs, os.Getpid(), func(m proc.Mapping) bool { return m.Path == exe && m.Perms[1] == '-' })
	for _, m := range unused {
		unix.Syscall(unix.SYS_MADVISE, uintptr(m.Start), uintptr(m.Len()), unix.MADV_DONTNEED) // it is read again where it is needed
	}
	_ = unix.Mlockall(unix.MCL_CURRENT | unix.MCL_ONFAULT)
}
