package selector

import (
	"path"
	"strings"

	"hapressure/policy"
)

// NameOf is what the status calls a target, or the pattern of such names: a unit, or the path of a cgroup, which begins
// with a slash there and may not in the policy.
func NameOf(t policy.Target) string {
	if t.Cgroup != "" {
		return path.Clean("/" + t.Cgroup)
	}
	return t.Unit
}

// Target is the target with a name: the path of a cgroup if there is a slash in it, which no unit has in its name.
func Target(name string) policy.Target {
	if strings.Contains(name, "/") {
		return policy.Target{Cgroup: name}
	}
	return policy.Target{Unit: name}
}
