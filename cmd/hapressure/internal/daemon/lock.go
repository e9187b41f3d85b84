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

// LockFile is locked by the daemon that acts on this host's workers: two daemons would
// purge, drain and terminate the same ones. The path depends neither on flags nor on the
// environment, so that each daemon finds the lock of another one.
const LockFile = "/run/hapressure/daemon.lock"

const (
	// LockWait is how long a daemon waits for one that is exiting, as in a restart.
	LockWait  = 5 * time.Second
	lockRetry = 100 * time.Millisecond
)

// ErrRefused is the error if another daemon runs.
var ErrRefused = errors.New("refused")

// errLocked is the error of a lock that another process has.
var errLocked = errors.New("it is locked by another process")

// lockThisHost locks this host for this daemon. If that fails for another reason than a
// second daemon, such as a read-only file system, it logs the reason, and HAProxy is
// guarded without the lock.
func lockThisHost(j controller.Journal) error {
	err := lockHost(LockFile, func(pid int) {
		fmt.Fprintf(os.Stderr, "hapressure %s: waiting %v for it to exit\n", runsAs(pid), LockWait)
	})
	if err == nil || errors.Is(err, ErrRefused) {
		return err
	}
	host.ReportMissing(j, "lock", "The host is not locked, and a second daemon would not be detected", err)
	return nil
}

// lockHost locks a file until this process exits, even by SIGKILL (fcntl(2), F_SETLK). If
// another process has the lock, lockHost calls waiting once with its pid and waits for
// its exit. The error wraps ErrRefused if that process still has the lock after LockWait.
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

// tryLock locks an open file. If another process has the lock, the error is errLocked and
// holder is the pid of that process, 0 if it is in a pid namespace that this process does
// not see.
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
		"Stop that one first (%s), or use --dry-run, which changes no worker", ErrRefused,
		runsAs(pid), stop)
}

// runsAs describes the daemon that has the lock.
func runsAs(pid int) string {
	if pid == 0 {
		return "already runs on this host, in another pid namespace"
	}
	return fmt.Sprintf("already runs on this host with pid %d", pid)
}
