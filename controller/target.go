package controller

import (
	"time"

	"golang.org/x/sys/unix"

	"hapressure/cgroup"
)

// target is what a guard watches.
type target struct {
	name   string // its unit, or its cgroup's path
	cgroup string // path below the mount point of cgroup v2
	group  *cgroup.Group
}

// sinceBoot is the time since the machine was started, suspends included. A daemon that
// continues after a restart has the same clock.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // every Linux that has cgroup v2 has it
	}
	return time.Duration(ts.Nano())
}

// matchLimit bounds the targets that one glob finds.
const matchLimit = 64
