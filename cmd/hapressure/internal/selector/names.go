package selector

import (
	"path"
	"strings"

	"hapressure/policy"
)

// NameOf returns the name, or the pattern of names, of a target in the status. The path
// of a cgroup begins with a slash there, and need not in the policy.
func NameOf(t policy.Target) string {
	if t.Cgroup != "" {
		return path.Clean("/" + t.Cgroup)
	}
	return t.Unit
}

// Target returns the target with a name: a path of a cgroup if it has a slash, which no
// unit has.
func Target(name string) policy.Target {
	if strings.Contains(name, "/") {
		return policy.Target{Cgroup: name}
	}
	return policy.Target{Unit: name}
}
