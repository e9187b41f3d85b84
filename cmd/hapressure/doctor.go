package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"hapressure/cgroup"
	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/policy/language"
)

func doctorCommand() *cobra.Command {
	var socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check this host, its HAProxy and hapressure itself, and tell what to do",
		Long: `Check what hapressure needs of the kernel and of systemd, whether each HAProxy of this host is covered by the policy and could be
helped, and whether the service runs with all the rights that its actions need. It only looks: nothing is changed. Each line is ok, a
warning (there is less help than there could be) or a problem (help will not come), with what to do.
Without root it checks what it can. The rights are those that the daemon has in its sandbox; where it does not run, those of this command.
Exit codes: 0 no problem, with warnings or without; 1 it could not check; 2 wrong usage; 3 problems.`,
		Example: "  hapressure doctor\n  hapressure doctor --json | jq '.findings[] | select(.level != \"ok\")'",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h := host{procfs: procfs, states: filepath.Dir(control.Socket)} // of the service
			h.mount, h.mountErr = cgroup.Mount()
			h.policy, h.files, h.policyErr = loadPolicy()
			h.status, h.statusErr = (&inspector{socket: socket, journal: quiet{}}).status(cmd.Context())
			h.recordings = recordingsOf(h.status.Daemon)
			h.found, h.pids, h.foundErr = (&which{}).find(cmd.Context(), haproxy.NewScanner(procfs))
			h.service = propertiesOf(cmd.Context(), "hapressure.service")
			h.examine(cmd.Context())
			if asJSON {
				return errors.Join(writeJSON(cmd.OutOrStdout(), map[string]any{"findings": h.findings}), h.verdict)
			}
			for _, f := range h.findings {
				fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			return h.verdict
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// errProblem says that what was printed has problems.
var errProblem = errors.New("there are problems")

// host is what the checks look at. What could not be had has an error beside it.
type host struct {
	procfs     string
	recordings controller.Recordings // of the daemon
	states     string                // the folder of its states

	mount     string // of cgroup v2
	mountErr  error
	policy    *policy.Policy // of the files as they are
	files     []language.File
	policyErr error
	status    status.Status // told by the daemon, or looked up
	statusErr error
	found     []haproxy.Instance // all that there are
	pids      []int              // all processes
	foundErr  error
	service   map[string]any // properties of hapressure.service; empty where no systemd can be asked

	check    string // the one under way
	findings []finding
	verdict  error
}

// A finding is one line of the answer.
type finding struct {
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

func (f finding) String() string {
	text := fmt.Sprintf("%-8s %-10s %s", f.Level, f.Check, printable(strings.ReplaceAll(f.Found, "\n", "; ")))
	if f.Do != "" {
		text += fmt.Sprintf("\n%20s-> %s", "", f.Do)
	}
	return text
}

func (h *host) say(level, do, format string, args ...any) {
	h.findings = append(h.findings, finding{level, h.check, fmt.Sprintf(format, args...), do})
	if level == problem {
		h.verdict = errProblem
	}
}

func (h *host) examine(ctx context.Context) {
	for _, c := range checks {
		h.check = c.name
		c.look(ctx, h)
	}
}
