package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/controller"
)

// LockFile is locked by the daemon that acts on this host's workers: two daemons would purge, drain and terminate the
// same ones. The path depends neither on flags nor on the environment, so that no two daemons miss each other.
const LockFile = "/run/hapressure/daemon.lock"

const (
	LockWait  = 5 * time.Second // for a daemon that is ending: after a restart the next one may come early
	lockRetry = 100 * time.Millisecond
)

// ErrRefused is the error if another daemon runs.
var ErrRefused = errors.New("refused")

// errLocked is the error of a lock that another process holds.
var errLocked = errors.New("it is locked by another process")

// lockThisHost locks this host for this daemon. If the lock cannot be had for another reason than a second daemon, such as
// a read-only file system, it reports that, and HAProxy is guarded without the lock.
func lockThisHost(j controller.Journal) error {
	err := lockHost(LockFile, func(pid int) {
		fmt.Fprintf(os.Stderr, "hapressure %s: waiting %v for it to end\n", runsAs(pid), LockWait)
	})
	if err == nil || errors.Is(err, ErrRefused) {
		return err
	}
	host.ReportMissing(j, "lock", "A second daemon on this host will not be noticed: it cannot be locked", err)
	return nil
}

// lockHost locks a file for as long as this process lives. The kernel releases the lock with the process, however that
// ends (fcntl(2), F_SETLK). If another process holds the lock, lockHost calls waiting once with the pid of that process
// and waits for its end. The error wraps ErrRefused if that process still holds the lock after lockWait.
func lockHost(path string, waiting func(pid int)) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// Nothing closes the descriptor: that would release the lock.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	until := time.Now().Add(LockWait)
	holder, err := tryLock(fd)
	if errors.Is(err, errLocked) {
		waiting(holder)
	}
	for ; errors.Is(err, errLocked) && time.Now().Before(until); holder, err = tryLock(fd) {
		time.Sleep(lockRetry)
	}
	switch {
	case errors.Is(err, errLocked):
		return alreadyRunning(holder)
	case err != nil:
		return fmt.Errorf("locking %s: %w", path, err)
	}
	return nil
}

// tryLock locks an open file. If another process holds the lock, the error is errLocked and holder the pid of that
// process, 0 if it is in a pid namespace that this process does not see.
func tryLock(fd int) (holder int, err error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &lock)
	if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
		return 0, err
	}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &lock); err != nil {
		return 0, err
	}
	return max(0, int(lock.Pid)), errLocked
}

func alreadyRunning(pid int) error {
	stop := "systemctl stop hapressure"
	if pid != 0 {
		stop += fmt.Sprintf(", or kill %d", pid)
	}
	return fmt.Errorf("%w: hapressure %s, and two daemons would act on the same workers. "+
		"Stop that one first (%s), or use --dry-run, which touches no worker", ErrRefused, runsAs(pid), stop)
}

// runsAs describes the daemon that holds the lock.
func runsAs(pid int) string {
	if pid == 0 {
		return "already runs on this host, in another pid namespace"
	}
	return fmt.Sprintf("already runs on this host with pid %d", pid)
}
