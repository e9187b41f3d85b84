// Package systemd is what hapressure needs of systemd: the state of units over
// D-Bus, notifications to the service manager, and the journal.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// ErrNoUnit says that systemd has no such unit loaded, or no file for it.
var ErrNoUnit = errors.New("no such unit")

const (
	service       = "org.freedesktop.systemd1"
	managerPath   = dbus.ObjectPath("/org/freedesktop/systemd1")
	unitNamespace = managerPath + "/unit"
	unitInterface = service + ".Unit"

	propertiesChanged = "org.freedesktop.DBus.Properties.PropertiesChanged"
)

// A Unit is the state of a service unit. Its parts are read one after the
// other, so a unit that is just being started or stopped may be half of each.
type Unit struct {
	Name         string // the unit's own name, also when it was asked for by an alias
	ActiveState  string // active, reloading, inactive, failed, activating, deactivating
	ControlGroup string // as in /proc/PID/cgroup; empty when it is not running
	MainPID      int    // 0 when there is none
}

// A Bus is a connection to systemd by way of the system bus. It does not
// reconnect: when [Bus.Changes] closes its channel, make another.
type Bus struct {
	conn *sd.Conn   // calls
	raw  *dbus.Conn // signals, and what sd has no call for
}

// Connect connects to the system bus. The connection ends with ctx, so this is
// to be the context of the daemon's life, not of the call.
func Connect(ctx context.Context) (*Bus, error) {
	var raw *dbus.Conn
	// sd asks for two connections. We keep hold of one of them: of it sd tells
	// neither that it was lost nor, without polling, which unit has changed.
	conn, err := sd.NewConnection(func() (*dbus.Conn, error) {
		c, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
		raw = c
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to systemd over D-Bus: %w", err)
	}
	return &Bus{conn: conn, raw: raw}, nil
}

// Close ends the connection, and with it every channel of [Bus.Changes].
func (b *Bus) Close() { b.conn.Close() }

// Unit reads the state of a service unit, or returns [ErrNoUnit].
func (b *Bus) Unit(ctx context.Context, name string) (Unit, error) {
	u, err := b.unit(ctx, name)
	if err != nil {
		return Unit{}, fmt.Errorf("reading unit %q: %w", name, err)
	}
	return u, nil
}

func (b *Bus) unit(ctx context.Context, name string) (Unit, error) {
	// Reading a property makes systemd load the unit if need be, which it
	// reports as a change: who asks at each change would ask for ever. GetUnit
	// does not load anything.
	var at dbus.ObjectPath
	err := b.raw.Object(service, managerPath).CallWithContext(ctx, service+".Manager.GetUnit", 0, name).Store(&at)
	var refused dbus.Error
	if errors.As(err, &refused) && refused.Name == service+".NoSuchUnit" {
		return Unit{}, fmt.Errorf("%w: %w", ErrNoUnit, err)
	}
	if err != nil {
		return Unit{}, err
	}
	load, err := property[string](ctx, b.conn.GetUnitPropertyContext, name, "LoadState")
	if err != nil {
		return Unit{}, err
	}
	if load == "not-found" { // another unit names it, so systemd knows of it
		return Unit{}, fmt.Errorf("%w: no file for it", ErrNoUnit)
	}
	var u Unit
	if u.Name, err = property[string](ctx, b.conn.GetUnitPropertyContext, name, "Id"); err != nil {
		return Unit{}, err
	}
	if u.ActiveState, err = property[string](ctx, b.conn.GetUnitPropertyContext, name, "ActiveState"); err != nil {
		return Unit{}, err
	}
	if u.ControlGroup, err = property[string](ctx, b.conn.GetServicePropertyContext, name, "ControlGroup"); err != nil {
		return Unit{}, err
	}
	pid, err := property[uint32](ctx, b.conn.GetServicePropertyContext, name, "MainPID")
	if err != nil {
		return Unit{}, err
	}
	u.MainPID = int(pid)
	return u, nil
}

type getter func(ctx context.Context, unit, name string) (*sd.Property, error)

// property reads one property. Asking for all of them at once would be a single
// call, for which systemd reads the unit's memory, IO and network figures.
func property[T any](ctx context.Context, get getter, unit, name string) (T, error) {
	var zero T
	p, err := get(ctx, unit, name)
	if err != nil {
		return zero, fmt.Errorf("reading %s: %w", name, err)
	}
	v, ok := p.Value.Value().(T)
	if !ok {
		return zero, fmt.Errorf("%s is of type %T, not %T", name, p.Value.Value(), zero)
	}
	return v, nil
}

// Match returns the names of the loaded service units that match a glob such as
// haproxy@*.service, in order.
func (b *Bus) Match(ctx context.Context, glob string) ([]string, error) {
	units, err := b.conn.ListUnitsByPatternsContext(ctx, nil, []string{glob})
	if err != nil {
		return nil, fmt.Errorf("listing units that match %q: %w", glob, err)
	}
	var names []string
	for _, u := range units {
		if u.LoadState == "loaded" && strings.HasSuffix(u.Name, ".service") {
			names = append(names, u.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
