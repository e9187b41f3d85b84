package doctor

import (
	"context"
	"os"

	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller"
	"hapressure/controller/status"
	"hapressure/policy"
)

func checkPolicy(_ context.Context, e *exam) {
	switch s := e.status.Policy; {
	case e.policyErr != nil:
		e.say(problem, "hapressure policy check", "%v", e.policyErr)
	case s.Rejected != "":
		e.say(problem, "systemctl reload hapressure",
			"%s is in force, because the files had mistakes: %s", s.Origin, s.Rejected)
	case e.status.Daemon != nil && s.SHA256 != controller.Digest(e.policy):
		e.say(warning, "systemctl reload hapressure", "%s is in force, and %s has changed since",
			s.Origin, policyfiles.Origin(e.files))
	default:
		e.say(fine, "", "%s", policyfiles.Origin(e.files))
	}
}

func checkService(_ context.Context, e *exam) {
	switch p := e.units[ownUnit]; {
	case len(p) == 0:
		e.say(fine, "", "systemd does not answer, as in a container")
	case p["LoadState"] != "loaded":
		e.say(warning, "install the package", "hapressure.service is %s", p["LoadState"])
	case p["ActiveState"] != "active":
		e.say(problem, "systemctl start hapressure", "hapressure.service is %s", p["ActiveState"])
	case p["UnitFileState"] != "enabled":
		e.say(warning, "systemctl enable hapressure",
			"hapressure.service is %s: it is not started after a reboot", p["UnitFileState"])
	}
	switch s := e.status.Systemd; {
	case s.By == "": // the policy names no unit
	case s.Why != "":
		e.say(warning, "systemctl start dbus.socket", "units are found by %s: %s; %s", s.By, s.Why,
			s.Lacks)
	default:
		e.say(fine, "", "units are found by %s", s.By)
	}
	d := e.status.Daemon
	switch {
	case e.statusErr != nil && e.mountErr == nil:
		e.say(warning, "", "%v", e.statusErr)
	case d == nil:
		e.say(warning, "systemctl start hapressure", "no daemon is running: HAProxy is not guarded")
	case d.Version != e.version:
		e.say(warning, "systemctl restart hapressure",
			"the daemon is hapressure %s, and %s is installed", d.Version, e.version)
	case d.DryRun:
		e.say(warning, "run it without --dry-run", "the daemon only reports what it would do")
	default:
		e.say(fine, "", "hapressure %s, up for %s", d.Version, render.Since(e.status.At, d.Started))
	}
}

func checkMode(_ context.Context, e *exam) {
	if d := e.status.Daemon; d != nil && d.DryRun {
		return // checkService reports it
	}
	for _, t := range e.modes() {
		level, do := fine, ""
		switch {
		case t.Mode.Paused:
			level, do = warning, "hapressure resume"
		case t.Mode.InForce != policy.Observe:
		case t.Mode.Set == policy.Observe:
			level, do = warning, "hapressure mode full"
		default: // the files have mistakes
			level, do = problem, "hapressure mode full, and hapressure resume"
		}
		e.say(level, do, "%s: %s", t.Target, render.ModeText(t.Mode))
	}
}

// modes returns the mode of all targets, and of those that have another one.
func (e *exam) modes() []status.TargetMode {
	all := []status.TargetMode{{Target: "all targets", Mode: e.status.Mode}}
	for _, t := range e.status.Targets {
		if t.Mode.Why != e.status.Mode.Why {
			all = append(all, status.TargetMode{Target: t.Name, Mode: t.Mode})
		}
	}
	return all
}

func checkRights(_ context.Context, e *exam) {
	missing, whose := controller.MissingPrivileges(e.procfs), "this command"
	// a daemon of an earlier release does not report them
	if d := e.status.Daemon; d != nil && d.MissingRights != nil {
		missing, whose = d.MissingRights, "the daemon"
	} else if e.say(warning, "start the daemon",
		"no daemon reports the privileges of its sandbox"); os.Geteuid() != 0 {
		return // this command has no privileges
	}
	for _, r := range missing {
		level := problem
		if len(r.Actions) == 0 || r.Where != "" {
			level = warning
		}
		e.say(level, r.Remedy, "%s", r)
	}
	if len(missing) == 0 {
		e.say(fine, "", "%s has all privileges that actions need", whose)
	}
}
