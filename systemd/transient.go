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

// A Transient is a command that systemd runs as a unit of its own: outside of the
// caller's sandbox and memory limits, and it outlives the caller.
type Transient struct {
	Unit        string // its name without .service, and without the number that makes it unique
	Description string
	Command     []string // the program's absolute path and its arguments, as they are
	Environment map[string]string
	Timeout     time.Duration
}

// transientKill is how long a command may continue after its timeout and SIGTERM.
const transientKill = 5 * time.Second

// RunTransient starts a transient unit (systemd.service(5), Type=oneshot) and waits for
// its end, but not much longer than its Timeout. The error is of the start, or names the
// result of its job (org.freedesktop.systemd1(5), JobRemoved).
func (b *Bus) RunTransient(ctx context.Context, t Transient) error {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout+transientKill+time.Minute)
	defer cancel()
	// systemd may not have collected the previous unit of the same name yet.
	unit := fmt.Sprintf("%s-%d.service", t.Unit, time.Now().UnixMicro())
	command := slices.Clone(t.Command)
	for i := range command[1:] {
		command[i+1] = strings.ReplaceAll(command[i+1], "$", "$$") // or systemd expands variables
	}
	var environment []string
	for _, name := range slices.Sorted(maps.Keys(t.Environment)) {
		environment = append(environment, name+"="+t.Environment[name])
	}
	const ignoreFailure = false // the library names it by the opposite
	ended := make(chan string, 1)
	if _, err := b.conn.StartTransientUnitContext(ctx, unit, "fail", []sd.Property{
		sd.PropType("oneshot"), sd.PropDescription(t.Description), sd.PropSlice("system.slice"),
		sd.PropExecStart(command, ignoreFailure),
		property("Environment", environment),
		property("TimeoutStartUSec", uint64(t.Timeout.Microseconds())),
		property("TimeoutStopUSec", uint64(transientKill.Microseconds())),
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
