package systemd

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/godbus/dbus/v5"
)

// privateSocket is where systemd itself answers, to root only (src/core/dbus.c,
// bus_init_private), also before D-Bus is started and while it is down. Tests use a
// socket of their own.
var privateSocket = "/run/systemd/private"

// ConnectPrivate connects to systemd without the bus, otherwise as [Connect]. Units,
// their changes and transient units work as over the bus. No other program is connected
// there, so no program receives signals of [Bus.Emit].
func ConnectPrivate(ctx context.Context) (*Bus, error) {
	bus, err := newBus(ctx, dialPrivate)
	if err != nil {
		return nil, fmt.Errorf("connecting to systemd by %s: %w", privateSocket, err)
	}
	bus.private = true
	return bus, nil
}

// dialPrivate does not call Hello, which is for a bus.
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
