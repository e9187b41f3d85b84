package systemd

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Changes tells the name of every unit, of whatever type, whose state has changed: started, stopped, reloading, reloaded. A unit that
// changes several times before it is taken from the channel is told once. The channel closes when ctx ends or the bus is lost.
func (b *Bus) Changes(ctx context.Context) (<-chan string, error) {
	match := []dbus.MatchOption{
		dbus.WithMatchInterface("org.freedesktop.DBus.Properties"),
		dbus.WithMatchMember("PropertiesChanged"),
		dbus.WithMatchPathNamespace(unitNamespace),
		dbus.WithMatchArg(0, unitInterface), // each change is told a second time, of its type's interface
	}
	if err := inTime(ctx, func(ctx context.Context) error { return b.raw.AddMatchSignalContext(ctx, match...) }); err != nil {
		return nil, fmt.Errorf("matching changes of units: %w", err)
	}
	signals := make(chan *dbus.Signal, 64)
	b.raw.Signal(signals)
	// systemd sends no signals before somebody has subscribed.
	if err := inTime(ctx, func(ctx context.Context) error {
		return b.raw.Object(service, managerPath).CallWithContext(ctx, service+".Manager.Subscribe", 0).Err
	}); err != nil {
		b.raw.RemoveSignal(signals)
		return nil, fmt.Errorf("subscribing to changes of units: %w", err)
	}
	names := make(chan string)
	go func() {
		defer close(names)
		defer b.raw.RemoveSignal(signals)
		b.forward(ctx, signals, names)
	}()
	return names, nil
}

// forward never lets signals wait for the reader of names: godbus would keep each of them in a goroutine of its own.
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

// changedUnit is the unit that a signal reports as changed.
func changedUnit(s *dbus.Signal) (string, bool) {
	// Which changes come is the match's choice; sd asks the same connection for signals of its own.
	if s.Name != propertiesChanged {
		return "", false
	}
	// sd-bus writes a byte that a path may not hold as _2e, a URL as %2e; of underscores and percent signs neither is left as it is.
	name, err := url.PathUnescape(strings.ReplaceAll(path.Base(string(s.Path)), "_", "%"))
	return name, err == nil
}
