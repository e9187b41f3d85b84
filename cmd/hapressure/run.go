package main

import (
	"strings"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/daemon"
	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/controller/control"
)

func runCommand() *cobra.Command {
	o := daemon.Options{Version: version, RecordingsMiB: daemon.RecordingsMiB}
	cmd := &cobra.Command{
		Use:        "run",
		SuggestFor: []string{"start", "daemon"},
		Short:      "Guard HAProxy until stopped; the service runs this",
		Long: `Guard the targets of the policy until SIGTERM or SIGINT. Each change of tier and
each action is one entry in the journal. If standard error is not the journal, entries go there:
on a terminal as messages, otherwise as one line each with the fields. --log-format chooses:

  journal  to journald with all fields
  text     messages for people
  fields   one line for each entry, with the fields
  json     one line for each entry, with the fields of 'hapressure events --json' and level

Without --policy, the policy is ` + policyfiles.SystemFile + ` or, if there is no such file, the built-in policy,
which guards haproxy.service. Drop-ins in ` + policyfiles.DropIns[0] + ` override parts of it.

One daemon acts on a host: it locks ` + daemon.LockFile + `. A second daemon waits ` + daemon.LockWait.String() + ` for the
first one to exit, and then fails. Any number of daemons may run with --dry-run.

Exit codes: 0 stopped by a signal, 1 failed, 2 wrong usage, 3 another daemon is running.`,
		Example: "  hapressure run --dry-run\n  hapressure run --policy ./policy.yaml",
		Args:    usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return usageError{err}
			}
			if err := oneOf("log-format", o.LogFormat, daemon.LogFormats); err != nil &&
				o.LogFormat != "" {
				return err
			}
			return daemon.Run(cmd.Context(), o)
		},
	}
	policyFlag(cmd, &o.Policy)
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "decide and report, but change no worker")
	cmd.Flags().StringVar(&o.Recordings, "recordings", daemon.StateFile("recordings"),
		"`FOLDER` for recordings of samples, decisions and outcomes; empty for none")
	cmd.Flags().Var((*decimal)(&o.RecordingsMiB), "recordings-size",
		"bound of each target's recordings, in `MIB`; recordings of former targets may take 16 times as much")
	cmd.Flags().StringVar(&o.Socket, "control", control.Socket,
		"`PATH` of the control socket, if systemd passes none; empty for none")
	cmd.Flags().StringVar(&o.LogFormat, "log-format", "",
		"`FORMAT` of log entries instead of what suits standard error: "+
			strings.Join(daemon.LogFormats, ", "))
	allowEmpty(cmd, "recordings")
	allowEmpty(cmd, "control")
	cmd.Flags().StringVar(&o.Metrics, "metrics", "",
		"answer GET /metrics at this TCP `ADDRESS`, such as 127.0.0.1:19787, to any client")
	return cmd
}
