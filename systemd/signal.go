package systemd

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// ownName is our name on the system bus.
const ownName = "org.hapressure1"

var errNoReceivers = fmt.Errorf("there is no bus: %w", errors.ErrUnsupported)

// A TierChange is what the signal of that name tells. From and To are tiers' names, Usage and Limit bytes, of the nearest limit.
type TierChange struct {
	Target, From, To, Reason string
	Usage, Limit             uint64
}

// OwnName takes our name on the bus, by which receivers know that a signal is ours. D-Bus's own policy (org.hapressure1.conf) must
// allow it, and only one connection can have it. On systemd's own socket it is [errors.ErrUnsupported].
func (b *Bus) OwnName(ctx context.Context) error {
	if b.private {
		return fmt.Errorf("taking the name %s: %w", ownName, errNoReceivers)
	}
	var reply dbus.RequestNameReply
	err := inTime(ctx, func(ctx context.Context) error {
		return b.raw.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.RequestName", 0, ownName, dbus.NameFlagDoNotQueue).Store(&reply)
	})
	if err == nil && reply != dbus.RequestNameReplyPrimaryOwner {
		err = errors.New("another process has it")
	}
	if err != nil {
		return fmt.Errorf("taking the name %s: %w", ownName, err)
	}
	return nil
}

// TierChanged sends the signal TierChanged(sssstt). The error is that of a connection which was lost, or
// [errors.ErrUnsupported] on systemd's own socket.
func (b *Bus) TierChanged(c TierChange) error {
	if b.private {
		return fmt.Errorf("sending TierChanged: %w", errNoReceivers)
	}
	return b.raw.Emit("/org/hapressure1", ownName+".Monitor.TierChanged", c.Target, c.From, c.To, c.Reason, c.Usage, c.Limit)
}
