package doctor

import "context"

// checks are all checks, in the order of the output.
var checks = []struct {
	name string
	look func(context.Context, *exam)
}{
	{"host", checkHost}, {"policy", checkPolicy}, {"service", checkService}, {"mode", checkMode},
	{"rights", checkRights}, {"recordings", checkRecordings}, {"state", checkStates},
	{"targets", checkTargets}, {"memory", checkMemory}, {"oom", checkOOM}, {"haproxy", checkHAProxy},
}
