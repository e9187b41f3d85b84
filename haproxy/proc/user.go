package proc

import (
	"fmt"
	"strconv"
	"strings"
)

// UserInside returns the id that a user has in the user namespace of a process. A user
// without one is an error.
func UserInside(procfs string, pid int, uid uint32) (uint32, error) {
	b, err := ReadFile(procfs, pid, "uid_map")
	if err != nil {
		return 0, err
	}
	return insideOf(string(b), uid)
}

// insideOf finds a user in /proc/PID/uid_map (user_namespaces(7)). A line has the first
// id inside, the first id in the reader's namespace, and the number of ids:
//
//	0       1000          1
//	1     100000      65536
func insideOf(text string, uid uint32) (uint32, error) {
	for line := range strings.Lines(text) {
		var of [3]uint64
		f := strings.Fields(line)
		if len(f) != len(of) {
			return 0, fmt.Errorf("parsing uid_map line %.100q: %d fields, want 3", line, len(f))
		}
		for i := range of {
			var err error
			if of[i], err = strconv.ParseUint(f[i], 10, 32); err != nil {
				return 0, fmt.Errorf("parsing uid_map line %.100q: %w", line, err)
			}
		}
		if inside, outside, n := of[0], of[1], of[2]; uint64(uid) >= outside &&
			uint64(uid) < outside+n {
			return uint32(inside + uint64(uid) - outside), nil
		}
	}
	return 0, fmt.Errorf("user %d has no id in the user namespace", uid)
}
