package systemd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// A Hook is a command that systemd runs as a unit of its own: neither our sandbox nor our memory is its, and it outlives us.
type Hook struct {
	Unit        string // its name without .service, and without the number that makes it unique
	Description string
	Command     []string // the program's absolute path and its arguments, as they are
	Environment map[string]string
	Timeout     time.Duration
}

// hookKill is what a hook that has had its time may go on for after SIGTERM.
const hookKill = 5 * time.Second

// RunHook starts a transient unit (systemd.service(5), Type=oneshot) and waits for its end, but not much longer than for the hook's
// Timeout. The error is of the start, or names the result of its job (org.freedesktop.systemd1(5), JobRemoved).
func (b *Bus) RunHook(ctx context.Context, h Hook) error {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout+hookKill+time.Minute)
	defer cancel()
	// The unit before, of the same name, may not have been collected yet.
	unit := fmt.Sprintf("%s-%d.service", h.Unit, time.Now().UnixMicro())
	command := slices.Clone(h.Command)
	for i := range command[1:] {
		command[i+1] = strings.ReplaceAll(command[i+1], "$", "$$") // or systemd puts variables in
	}
	var environment []string
	for _, name := range slices.Sorted(maps.Keys(h.Environment)) {
		environment = append(environment, name+"="+h.Environment[name])
	}
	const ignoreFailure = false // the library calls it by the opposite
	ended := make(chan string, 1)
	if _, err := b.conn.StartTransientUnitContext(ctx, unit, "fail", []sd.Property{
		sd.PropType("oneshot"), sd.PropDescription(h.Description), sd.PropSlice("system.slice"), sd.PropExecStart(command, ignoreFailure),
		property("Environment", environment),
		property("TimeoutStartUSec", uint64(h.Timeout.Microseconds())), property("TimeoutStopUSec", uint64(hookKill.Microseconds())),
		property("CollectMode", "inactive-or-failed"),
	}, ended); err != nil {
		return fmt.Errorf("starting %s: %w", unit, err)
	}
	select {
	case result := <-ended:
		if result != "done" {
			return fmt.Errorf("%s ended with %q", unit, result)
		}
		return nil
	case <-b.raw.Context().Done():
		return fmt.Errorf("waiting for the end of %s: %w", unit, dbus.ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of %s: %w", unit, ctx.Err())
	}
}

func property(name string, value any) sd.Property {
	return sd.Property{Name: name, Value: dbus.MakeVariant(value)}
}
