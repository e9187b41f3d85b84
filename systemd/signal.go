package systemd

import (
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// Our own name on the system bus, and where signals come from.
const (
	ownName      = "org.hapressure1"
	ownPath      = dbus.ObjectPath("/org/hapressure1")
	ownInterface = ownName + ".Monitor"
)

// A TierChange is what the signal of that name tells.
type TierChange struct {
	Target, From, To string // From and To are tiers' names
	Reason           string
	Usage, Limit     uint64 // of the nearest limit, in bytes
}

// OwnName takes our name on the bus, by which receivers know that a signal is ours. Only one connection has it, and D-Bus's own policy
// (org.hapressure1.conf) must allow it.
func (b *Bus) OwnName() error {
	reply, err := b.raw.RequestName(ownName, dbus.NameFlagDoNotQueue)
	if err == nil && reply != dbus.RequestNameReplyPrimaryOwner && reply != dbus.RequestNameReplyAlreadyOwner {
		err = errors.New("another process has it")
	}
	if err != nil {
		return fmt.Errorf("taking the name %s: %w", ownName, err)
	}
	return nil
}

// TierChanged sends the signal TierChanged(sssstt).
func (b *Bus) TierChanged(c TierChange) error {
	if err := b.raw.Emit(ownPath, ownInterface+".TierChanged", c.Target, c.From, c.To, c.Reason, c.Usage, c.Limit); err != nil {
		return fmt.Errorf("sending the signal TierChanged: %w", err)
	}
	return nil
}
