package systemd

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Changes reports the name of each unit, of any type, whose state has changed: started,
// stopped, reloading, reloaded. Several changes of a unit that nothing has received yet
// are one. The channel closes when ctx ends or the bus is lost.
func (b *Bus) Changes(ctx context.Context) (<-chan string, error) {
	signals := make(chan *dbus.Signal, 64)
	b.raw.Signal(signals)
	if err := b.subscribe(ctx); err != nil {
		b.raw.RemoveSignal(signals)
		return nil, err
	}
	names := make(chan string)
	go func() {
		defer close(names)
		defer b.raw.RemoveSignal(signals)
		b.forward(ctx, signals, names)
	}()
	return names, nil
}

// subscribe makes systemd send the changes of units, and the bus deliver them. At its
// private socket systemd always sends every signal (src/core/dbus.c, bus_foreach_bus),
// and does not answer AddMatch.
func (b *Bus) subscribe(ctx context.Context) error {
	if b.private {
		return nil
	}
	match := []dbus.MatchOption{
		dbus.WithMatchInterface("org.freedesktop.DBus.Properties"),
		dbus.WithMatchMember("PropertiesChanged"),
		dbus.WithMatchPathNamespace(unitNamespace),
		dbus.WithMatchArg(0, unitInterface),
	}
	if err := inTime(ctx, func(ctx context.Context) error {
		return b.raw.AddMatchSignalContext(ctx, match...)
	}); err != nil {
		return fmt.Errorf("matching changes of units: %w", err)
	}
	// systemd sends no signals before a client has subscribed.
	if err := inTime(ctx, func(ctx context.Context) error {
		manager := b.raw.Object(service, managerPath)
		return manager.CallWithContext(ctx, service+".Manager.Subscribe", 0).Err
	}); err != nil {
		return fmt.Errorf("subscribing to changes of units: %w", err)
	}
	return nil
}

// forward never lets signals wait for the reader of names: godbus would keep each of them
// in a goroutine of its own.
func (b *Bus) forward(ctx context.Context, signals <-chan *dbus.Signal, names chan<- string) {
	changed := make(map[string]bool)
	for {
		var next string
		var ready chan<- string // nil, and so never chosen, while nothing has changed
		for name := range changed {
			next, ready = name, names
			break
		}
		select {
		case ready <- next:
			delete(changed, next)
		case s, open := <-signals:
			if !open {
				return
			}
			if name, ok := changedUnit(s); ok {
				changed[name] = true
			}
		case <-b.raw.Context().Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// changedUnit is the unit that a signal reports as changed. systemd reports each change
// twice, also for the interface of the unit's type; that signal does not count.
func changedUnit(s *dbus.Signal) (string, bool) {
	escaped, isUnit := strings.CutPrefix(string(s.Path), string(unitNamespace)+"/")
	if s.Name != propertiesChanged || !isUnit || len(s.Body) == 0 || s.Body[0] != unitInterface {
		return "", false
	}
	// sd-bus writes a byte that a path may not hold as _2e, a URL as %2e; of underscores
	// and percent signs neither is left as it is.
	name, err := url.PathUnescape(strings.ReplaceAll(escaped, "_", "%"))
	return name, err == nil
}
