package doctor

import (
	"context"

	"hapressure/cgroup"
	"hapressure/cmd/hapressure/internal/daemon"
	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/inspect"
	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/haproxy"
)

// Examine checks this host. It asks the daemon at socket for its status. version is that
// of this program; j logs what cannot be read. The error is ErrProblem if a finding is a
// problem.
func Examine(
	ctx context.Context, socket, version string, j controller.Journal,
) ([]Finding, error) {
	e := exam{procfs: host.Procfs, sysfs: "/sys", version: version, states: control.Dir}
	e.mount, e.mountErr = cgroup.Mount()
	e.policy, e.files, e.policyErr = policyfiles.Load()
	e.status, e.statusErr = (&inspect.Inspector{Socket: socket, Journal: j}).Status(ctx)
	e.recordings = recordingsOf(e.status.Daemon, version)
	scanner := haproxy.NewScanner(host.Procfs)
	e.found, e.pids, e.foundErr = selector.Selector{}.Find(ctx, scanner)
	e.leftOut = scanner.LeftOut()
	e.units = host.UnitProperties(ctx, e.unitNames()...)
	e.examine(ctx)
	return e.findings, e.verdict
}

func (e *exam) examine(ctx context.Context) {
	for _, c := range checks {
		e.check = c.name
		c.look(ctx, e)
	}
}

// recordingsOf returns where a daemon records, the default of the service without a
// daemon.
func recordingsOf(d *status.Daemon, version string) controller.Recordings {
	switch {
	case d == nil || d.Version != version:
		return controller.Recordings{Dir: "/var/lib/hapressure/recordings",
			PerTarget: daemon.RecordingsMiB << 20}
	case d.Recordings == nil:
		return controller.Recordings{}
	}
	return controller.Recordings{Dir: d.Recordings.Dir, PerTarget: d.Recordings.BytesPerTarget}
}
