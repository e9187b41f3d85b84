package doctor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"hapressure/cgroup"
	"hapressure/cmd/hapressure/internal/daemon"
	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/inspect"
	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/policy/language"
)

// ErrProblem is the error of an examination that found a problem.
var ErrProblem = errors.New("there are problems")

// Examine checks this host. It asks the daemon at socket for its status. version is that
// of this program. The error is ErrProblem if a finding is a problem.
func Examine(ctx context.Context, socket, version string) ([]Finding, error) {
	// of the service
	e := exam{procfs: host.Procfs, sysfs: "/sys", version: version,
		states: filepath.Dir(control.Socket)}
	e.mount, e.mountErr = cgroup.Mount()
	e.policy, e.files, e.policyErr = policyfiles.Load()
	e.status, e.statusErr = (&inspect.Inspector{Socket: socket, Journal: host.Stderr{}}).Status(ctx)
	e.recordings = recordingsOf(e.status.Daemon, version)
	scanner := haproxy.NewScanner(host.Procfs)
	e.found, e.pids, e.foundErr = selector.Selector{}.Find(ctx, scanner)
	e.leftOut = scanner.LeftOut()
	e.units = host.UnitProperties(ctx, e.unitNames()...)
	e.examine(ctx)
	return e.findings, e.verdict
}

// exam is the input of the checks, and their findings. An input that cannot be read has
// an error beside it.
type exam struct {
	procfs     string
	sysfs      string
	version    string                // of this program
	recordings controller.Recordings // of the daemon
	states     string                // the folder of its states

	mount     string // of cgroup v2
	mountErr  error
	policy    *policy.Policy // of the present files
	files     []language.File
	policyErr error
	status    status.Status // of the daemon, or of an inspection
	statusErr error
	found     []haproxy.Instance // all of this host
	leftOut   []haproxy.LeftOut  // processes that resemble it
	pids      []int              // all processes
	foundErr  error
	units     map[string]map[string]any // properties of unitNames; none if systemd does not answer

	check    string // name of the present check
	findings []Finding
	verdict  error
}

// Finding is one line of the output.
type Finding struct {
	Level string `json:"level"` // ok, warning or problem
	Check string `json:"check"`
	Found string `json:"found"`
	Do    string `json:"do,omitempty"`
}

const (
	fine    = "ok"
	warning = "warning"
	problem = "problem"
)

func (f Finding) String() string {
	text := fmt.Sprintf("%-8s %-10s %s", f.Level, f.Check,
		render.Printable(strings.ReplaceAll(f.Found, "\n", "; ")))
	if f.Do != "" {
		text += fmt.Sprintf("\n%20s-> %s", "", f.Do)
	}
	return text
}

func (e *exam) say(level, do, format string, args ...any) {
	e.findings = append(e.findings, Finding{level, e.check, fmt.Sprintf(format, args...), do})
	if level == problem {
		e.verdict = ErrProblem
	}
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
