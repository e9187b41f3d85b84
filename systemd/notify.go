package systemd

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready notifies the service manager that the daemon has started or reloaded
// (sd_notify(3)). As with all notifications, it is no error if there is no service
// manager (no NOTIFY_SOCKET).
func Ready() error { return notify(daemon.SdNotifyReady) }

// Status sets the line that systemctl status shows.
func Status(text string) error {
	// A new line would begin another assignment.
	return notify("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Watchdog notifies that the daemon is alive. Call it at least twice per
// [WatchdogInterval].
func Watchdog() error { return notify(daemon.SdNotifyWatchdog) }

// Reloading notifies that the daemon reloads; Ready ends it.
func Reloading() error {
	// For Type=notify-reload this time must be later than the request.
	return notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping notifies that the daemon stops.
func Stopping() error { return notify(daemon.SdNotifyStopping) }

// WatchdogInterval returns the time after which the service manager kills a daemon that
// did not call Watchdog; false if it does not watch this process.
func WatchdogInterval() (time.Duration, bool) {
	// The library's error means that WATCHDOG_USEC is not a time, so systemd did not set
	// it.
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
