// Package systemd is what hapressure needs of systemd: the cgroups of units over D-Bus,
// notifications to the service manager, and the journal.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// ErrNoUnit means that systemd has no such unit loaded, or no file for it.
var ErrNoUnit = errors.New("no such unit")

const (
	service       = "org.freedesktop.systemd1"
	managerPath   = dbus.ObjectPath("/org/freedesktop/systemd1")
	unitNamespace = managerPath + "/unit"
	unitInterface = service + ".Unit"

	propertiesChanged = "org.freedesktop.DBus.Properties.PropertiesChanged"
)

// patience bounds each answer of the bus or systemd. It is that of sd-bus
// (sd_bus_get_method_call_timeout(3)). Tests have less.
var patience = 25 * time.Second

// A Bus is a connection to systemd, over the system bus ([Connect]) or systemd's private
// socket ([ConnectPrivate]). It does not reconnect: when [Bus.Changes] closes its
// channel, make another Bus. A call that is not answered within 25 s fails with
// [context.DeadlineExceeded].
type Bus struct {
	conn    *sd.Conn   // calls
	raw     *dbus.Conn // signals, and calls that sd does not have
	private bool       // no bus: no names, no matches, no other receivers
	end     context.CancelFunc
}

// Connect connects to the system bus. The connection ends with ctx: pass the context of
// the daemon, not of the call.
func Connect(ctx context.Context) (*Bus, error) {
	bus, err := newBus(ctx, func(ctx context.Context) (*dbus.Conn, error) {
		return dbus.ConnectSystemBus(dbus.WithContext(ctx))
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to systemd over D-Bus: %w", err)
	}
	return bus, nil
}

// newBus makes a Bus of the connections that dial makes. It ends with ctx.
func newBus(ctx context.Context, dial func(context.Context) (*dbus.Conn, error)) (*Bus, error) {
	ctx, end := context.WithCancel(ctx)
	late := time.AfterFunc(patience, end)
	var raw *dbus.Conn
	// sd dials two connections. One of them is kept here, because sd reports neither its
	// loss nor, without polling, which unit has changed.
	conn, err := sd.NewConnection(func() (*dbus.Conn, error) {
		c, err := dial(ctx)
		raw = c
		return c, err
	})
	if !late.Stop() {
		err = unanswered(context.DeadlineExceeded)
	}
	if err != nil {
		end()
		return nil, err
	}
	return &Bus{conn: conn, raw: raw, end: end}, nil
}

// Close ends the connection, and with it every channel of [Bus.Changes].
func (b *Bus) Close() {
	b.conn.Close()
	b.end()
}

// inTime bounds a call by patience.
func inTime(ctx context.Context, ask func(context.Context) error) error {
	ctx, done := context.WithTimeout(ctx, patience)
	defer done()
	err := ask(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return unanswered(err)
	}
	return err
}

func unanswered(err error) error { return fmt.Errorf("no answer within %v: %w", patience, err) }

// ControlGroup returns the cgroup of a service unit, as in /proc/PID/cgroup; "" if the
// unit does not run. The error is [ErrNoUnit] if there is no such unit.
func (b *Bus) ControlGroup(ctx context.Context, name string) (group string, err error) {
	err = inTime(ctx, func(ctx context.Context) (err error) {
		group, err = b.controlGroup(ctx, name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading unit %q: %w", name, err)
	}
	return group, nil
}

func (b *Bus) controlGroup(ctx context.Context, name string) (group string, err error) {
	// To read a property systemd loads the unit if necessary and reports that as a
	// change, so a caller that reads at each change would never stop. GetUnit does not
	// load it.
	manager := b.raw.Object(service, managerPath)
	err = manager.CallWithContext(ctx, service+".Manager.GetUnit", 0, name).Err
	var refused dbus.Error
	if errors.As(err, &refused) && refused.Name == service+".NoSuchUnit" {
		return "", fmt.Errorf("%w: %w", ErrNoUnit, err)
	}
	if err != nil {
		return "", err
	}
	load, err := b.conn.GetUnitPropertyContext(ctx, name, "LoadState")
	if err != nil {
		return "", fmt.Errorf("reading LoadState: %w", err)
	}
	if load.Value.Value() == "not-found" { // another unit refers to it
		return "", fmt.Errorf("%w: no file for it", ErrNoUnit)
	}
	property, err := b.conn.GetServicePropertyContext(ctx, name, "ControlGroup")
	if err == nil {
		err = property.Value.Store(&group)
	}
	if err != nil {
		return "", fmt.Errorf("reading ControlGroup: %w", err)
	}
	return group, nil
}

// Properties returns all properties of a unit. LoadState is not-found for a unit that is
// not installed.
func (b *Bus) Properties(ctx context.Context, name string) (properties map[string]any, err error) {
	err = inTime(ctx, func(ctx context.Context) (err error) {
		properties, err = b.conn.GetAllPropertiesContext(ctx, name)
		return err
	})
	return properties, err
}

// Match returns the names of the loaded service units that match a glob such as
// haproxy@*.service, in order.
func (b *Bus) Match(ctx context.Context, glob string) ([]string, error) {
	var units []sd.UnitStatus
	err := inTime(ctx, func(ctx context.Context) (err error) {
		units, err = b.conn.ListUnitsByPatternsContext(ctx, nil, []string{glob})
		return err
	})
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
