package cgroup

import (
	"errors"

	"github.com/containerd/cgroups/v3"
)

const unifiedMount = "/sys/fs/cgroup"

// Mount returns the mount point of cgroup v2. Where the memory controller belongs to cgroup v1 it is an error: v1 knows neither
// memory.events nor a pressure file for a group.
func Mount() (string, error) { return mountOf(cgroups.Mode()) }

func mountOf(mode cgroups.CGMode) (string, error) {
	switch mode {
	case cgroups.Unified:
		return unifiedMount, nil
	case cgroups.Hybrid:
		return "", errors.New("cgroup mode is hybrid: the memory controller is on v1, and " + unifiedMount + "/unified has none (boot with systemd.unified_cgroup_hierarchy=1)")
	case cgroups.Legacy:
		return "", errors.New("cgroup v2 is not mounted, only v1 (boot with systemd.unified_cgroup_hierarchy=1)")
	}
	return "", errors.New("no cgroup file system at " + unifiedMount)
}
