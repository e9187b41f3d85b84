// Package host holds what the commands know of this host: where the kernel's file systems
// are mounted, how units are found, and where log entries go.
package host

import (
	"fmt"

	"hapressure/cgroup"
	"hapressure/controller"
	"hapressure/policy"
)

// Procfs is where proc(5) is mounted.
const Procfs = "/proc"

// Config returns the configuration of a controller on this host.
func Config(p *policy.Policy, j controller.Journal) (controller.Config, error) {
	mount, err := cgroup.Mount()
	if err != nil {
		return controller.Config{}, fmt.Errorf("finding cgroup v2: %w", err)
	}
	return controller.Config{
		Policy: p, Procfs: Procfs, Cgroups: mount, Journal: j, Ways: Ways(mount),
	}, nil
}
