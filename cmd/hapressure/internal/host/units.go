package host

import (
	"context"

	"hapressure/controller"
	"hapressure/systemd"
)

// Ways returns the ways to find units, the best first. mount is that of cgroup v2.
func Ways(mount string) []controller.Way {
	return []controller.Way{
		{
			Name: "D-Bus",
			Connect: func(ctx context.Context) (controller.Units,
				error) {
				return units(systemd.Connect(ctx))
			},
		},
		{
			Name:  "systemd's private socket",
			Lacks: "the signal TierChanged is not sent",
			Connect: func(ctx context.Context) (controller.Units,
				error) {
				return units(systemd.ConnectPrivate(ctx))
			},
		},
		{
			Name: "the cgroup tree",
			Lacks: "units are found within 10 s instead of at once and not by an alias, hooks are not run and " +
				"the signal TierChanged is not sent",
			Connect: func(context.Context) (controller.Units,
				error) {
				return systemd.NewTree(mount), nil
			},
		},
	}
}

// units returns a nil interface with an error: one of a nil pointer would not be nil.
func units(bus *systemd.Bus, err error) (controller.Units, error) {
	if err != nil {
		return nil, err
	}
	return bus, nil
}

// UnitProperties returns the properties of units by their names. It asks no further after
// an error, as of a bus that hangs: the units that are left are missing.
func UnitProperties(ctx context.Context, units ...string) map[string]map[string]any {
	all := map[string]map[string]any{}
	for _, connect := range []func(context.Context) (*systemd.Bus, error){systemd.Connect,
		systemd.ConnectPrivate} {
		bus, err := connect(ctx)
		if err != nil {
			continue
		}
		defer bus.Close()
		for _, unit := range units {
			properties, err := bus.Properties(ctx, unit)
			if err != nil {
				break
			}
			all[unit] = properties
		}
		if len(all) > 0 {
			break
		}
	}
	return all
}
