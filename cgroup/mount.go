package cgroup

import (
	"errors"

	"github.com/containerd/cgroups/v3"
)

const unifiedMount = "/sys/fs/cgroup"

// Mount returns the mount point of cgroup v2. It is an error if cgroup v1 has the memory
// controller: v1 has neither memory.events nor a pressure file for a group.
func Mount() (string, error) { return mountOf(cgroups.Mode()) }

func mountOf(mode cgroups.CGMode) (string, error) {
	const remedy = "(boot with systemd.unified_cgroup_hierarchy=1)"
	switch mode {
	case cgroups.Unified:
		return unifiedMount, nil
	case cgroups.Hybrid:
		return "", errors.New("cgroup mode is hybrid: cgroup v1 has the memory controller, and " +
			unifiedMount + "/unified has none " + remedy)
	case cgroups.Legacy:
		return "", errors.New("cgroup v2 is not mounted, only v1 " + remedy)
	}
	return "", errors.New("no cgroup file system at " + unifiedMount)
}
