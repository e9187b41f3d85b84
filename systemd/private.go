package systemd

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/godbus/dbus/v5"
)

// privateSocket is where systemd itself answers, to root only (src/core/dbus.c, bus_init_private): it
// does so before D-Bus is started and when D-Bus is down. A test has its own.
var privateSocket = "/run/systemd/private"

// ConnectPrivate connects to systemd without the bus, in all else as [Connect]. Units, their changes and
// hooks are the same. Nothing else is connected there, so no program can receive TierChanged.
func ConnectPrivate(ctx context.Context) (*Bus, error) {
	bus, err := newBus(ctx, dialPrivate)
	if err != nil {
		return nil, fmt.Errorf("connecting to systemd by %s: %w", privateSocket, err)
	}
	bus.private = true
	return bus, nil
}

// dialPrivate leaves out the call of Hello, which is for a bus.
func dialPrivate(ctx context.Context) (*dbus.Conn, error) {
	conn, err := dbus.Dial("unix:path="+privateSocket, dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
