package host

import (
	"fmt"

	"hapressure/cgroup"
	"hapressure/controller"
	"hapressure/policy"
)

// Procfs is where proc(5) is mounted.
const Procfs = "/proc"

// Config is what any controller of this host works with.
func Config(p *policy.Policy, j controller.Journal) (controller.Config, error) {
	mount, err := cgroup.Mount()
	if err != nil {
		return controller.Config{}, fmt.Errorf("looking for cgroup v2: %w", err)
	}
	return controller.Config{
		Policy: p, Procfs: Procfs, Cgroups: mount, Journal: j, Ways: Ways(mount),
	}, nil
}
