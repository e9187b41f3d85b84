package doctor

import (
	"errors"
	"fmt"

	"hapressure/controller"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/policy/language"
)

// ErrProblem is the error of an examination that found a problem.
var ErrProblem = errors.New("there are problems")

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

// Findings is what "hapressure doctor --json" prints.
type Findings struct {
	Findings []Finding `json:"findings"` // in the order of the checks
}

// Finding is one line of the output.
type Finding struct {
	Level string `json:"level"`        // ok, warning or problem
	Check string `json:"check"`        // that found it: kernel, workers
	Found string `json:"found"`        // in words
	Do    string `json:"do,omitempty"` // what removes a warning or a problem
}

const (
	fine    = "ok"
	warning = "warning"
	problem = "problem"
)

func (e *exam) say(level, do, format string, args ...any) {
	e.findings = append(e.findings, Finding{level, e.check, fmt.Sprintf(format, args...), do})
	if level == problem {
		e.verdict = ErrProblem
	}
}
