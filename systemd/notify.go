package systemd

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready tells the service manager that the daemon has started, or has its new policy; see sd_notify(3). As with all that is told so, it is
// no error that there is no service manager (no NOTIFY_SOCKET).
func Ready() error { return notify(daemon.SdNotifyReady) }

// Status sets the line that systemctl status shows.
func Status(text string) error {
	// A new line would begin another assignment.
	return notify("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Watchdog says that the daemon is alive. It is to be called at least twice in [WatchdogInterval].
func Watchdog() error { return notify(daemon.SdNotifyWatchdog) }

// Reloading says that the daemon has begun to reload its policy; Ready ends it.
func Reloading() error {
	// Units of Type=notify-reload are told apart by this time, which has to be newer than that of the request.
	return notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping says that the daemon has begun to stop.
func Stopping() error { return notify(daemon.SdNotifyStopping) }

// WatchdogInterval is the time after which the service manager kills a daemon that did not call Watchdog; false where it does not watch
// this process.
func WatchdogInterval() (time.Duration, bool) {
	// The library's error means WATCHDOG_USEC is not a time. systemd would not set such a one, so nobody who could be notified has set it.
	interval, err := daemon.SdWatchdogEnabled(false)
	return interval, err == nil && interval > 0
}

func notify(state string) error {
	// (false, nil) means that there is no socket.
	if _, err := daemon.SdNotify(false, state); err != nil {
		name, _, _ := strings.Cut(state, "=")
		return fmt.Errorf("notifying the service manager of %s: %w", name, err)
	}
	return nil
}
