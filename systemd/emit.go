package systemd

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

var errNoReceivers = fmt.Errorf("there is no bus: %w", errors.ErrUnsupported)

// OwnName takes a name on the bus, by which receivers recognise the sender of a signal. A
// D-Bus policy must allow it, and only one connection can own it. On systemd's private
// socket it returns [errors.ErrUnsupported].
func (b *Bus) OwnName(ctx context.Context, name string) error {
	if b.private {
		return fmt.Errorf("taking the name %s: %w", name, errNoReceivers)
	}
	var reply dbus.RequestNameReply
	err := inTime(ctx, func(ctx context.Context) error {
		return b.raw.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.RequestName", 0,
			name, dbus.NameFlagDoNotQueue).Store(&reply)
	})
	if err == nil && reply != dbus.RequestNameReplyPrimaryOwner {
		err = errors.New("another process owns it")
	}
	if err != nil {
		return fmt.Errorf("taking the name %s: %w", name, err)
	}
	return nil
}

// Emit sends a signal, named INTERFACE.MEMBER, from the object at a path. The error is
// that of a connection that was lost, or [errors.ErrUnsupported] on systemd's private
// socket.
func (b *Bus) Emit(path, signal string, values ...any) error {
	if b.private {
		return fmt.Errorf("sending %s: %w", signal, errNoReceivers)
	}
	return b.raw.Emit(dbus.ObjectPath(path), signal, values...)
}
