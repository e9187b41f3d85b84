package daemon

import (
	"os"

	"golang.org/x/sys/unix"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/haproxy/proc"
)

// LeaveHugePages turns transparent huge pages off and executes the program again, because
// the runtime already has some of them: the daemon would use little of each 2 MiB. The
// setting survives execve(2) (PR_SET_THP_DISABLE(2const)). A failure changes nothing.
// Signals are lost during execve, so that it must come before the program catches them.
func LeaveHugePages() {
	if off, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0); err != nil || off != 0 {
		return
	}
	if exe, err := os.Executable(); err == nil && unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0,
		0) == nil {
		_ = unix.Exec(exe, os.Args, os.Environ())
	}
}

// lockResident locks the touched pages of the executable, which a host that thrashes
// would drop. Pages that only the start needed are dropped first. Go's heap is still
// freed. A failure only makes hapressure slower under thrashing.
func lockResident() {
	exe, _ := os.Executable()
	unused, _ := proc.ReadMaps(host.Procfs, os.Getpid(),
		func(m proc.Mapping) bool { return m.Path == exe && m.Perms[1] == '-' })
	for _, m := range unused {
		// read again when needed
		unix.Syscall(unix.SYS_MADVISE, uintptr(m.Start), uintptr(m.Len()), unix.MADV_DONTNEED)
	}
	_ = unix.Mlockall(unix.MCL_CURRENT | unix.MCL_ONFAULT)
}
