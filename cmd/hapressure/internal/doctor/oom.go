package doctor

import (
	"context"
	"errors"

	"hapressure/cgroup"
)

// checkOOM finds settings by which a shortage of memory ends all of HAProxy and not one
// process: hapressure frees memory before, and cannot prevent each shortage.
func checkOOM(_ context.Context, e *exam) {
	for _, t := range e.status.Targets {
		before := len(e.findings)
		units := unitsOf(t.Cgroup)
		e.checkOOMPolicy(units[len(units)-1])
		e.checkOOMGroup(t.Cgroup)
		e.checkOOMD(units)
		if len(e.findings) == before {
			e.say(fine, "", "%s: a shortage of memory ends single processes of it", t.Name)
		}
	}
}

// checkOOMPolicy checks what systemd does after an OOM kill in a unit. A slice has no
// such policy.
func (e *exam) checkOOMPolicy(unit string) {
	switch e.units[unit]["OOMPolicy"] {
	case "stop":
		e.say(warning, "systemctl edit "+unit+": OOMPolicy=continue below [Service]",
			"%s has OOMPolicy=stop: when the kernel kills one process for memory, such as the "+
				"new worker of a reload, systemd ends all of HAProxy", unit)
	case "kill":
		e.say(warning, "systemctl edit "+unit+": OOMPolicy=continue below [Service]",
			"%s has OOMPolicy=kill: for memory the kernel kills all of HAProxy at once", unit)
	}
}

func (e *exam) checkOOMGroup(cgroupPath string) {
	group, err := cgroup.Open(e.mount, cgroupPath)
	if err != nil {
		return // checkMemory reports it
	}
	defer group.Close()
	units := unitsOf(cgroupPath)
	switch at, err := group.OOMGroup(); {
	case errors.Is(err, cgroup.ErrAbsent): // without the memory controller, which checkMemory reports
	case err != nil:
		e.say(warning, "", "%v", err)
	case at == cgroupPath && e.units[units[len(units)-1]]["OOMPolicy"] == "kill": // its effect
	case at != "":
		e.say(warning, "set it to 0; Kubernetes has singleProcessOOMKill: true for that, systemd "+
			"OOMPolicy=continue",
			"memory.oom.group of cgroup %s is 1: for memory the kernel kills all its processes "+
				"at once", at)
	}
}

// checkOOMD checks whether systemd-oomd, which kills a whole cgroup, may choose a unit.
// It chooses among the units below one that is set to be watched.
func (e *exam) checkOOMD(units []string) {
	own := units[len(units)-1]
	if e.units[oomd]["ActiveState"] != "active" || e.units[own]["ManagedOOMPreference"] == "omit" {
		return
	}
	for _, unit := range units {
		for _, setting := range []string{"ManagedOOMSwap", "ManagedOOMMemoryPressure"} {
			if e.units[unit][setting] == "kill" {
				e.say(warning, "systemctl set-property "+own+" ManagedOOMPreference=omit",
					"%s has %s=kill: systemd-oomd may kill all processes of %s at once", unit,
					setting, own)
			}
		}
	}
}
