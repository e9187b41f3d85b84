package main

import (
	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/daemon"
	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/controller/control"
)

func runCommand() *cobra.Command {
	o := daemon.Options{Version: version}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Guard HAProxy until stopped; what the service runs",
		Long: `Guard the targets of the policy until SIGTERM or SIGINT. Every change of tier and every action is one entry in the journal, or
one line on standard error where that is not the journal.

Without --policy the policy is ` + policyfiles.SystemFile + ` if it exists, else the built-in one, which guards haproxy.service, with the
drop-ins in ` + policyfiles.DropIns[0] + `.

One daemon acts on a host: it locks ` + daemon.LockFile + `. A second one waits ` + daemon.LockWait.String() + ` for the first to end, and is then
refused. With --dry-run any number may run.

Exit codes: 0 stopped by a signal, 1 failed, 2 wrong usage, 3 another daemon runs.`,
		Example: "  hapressure run --dry-run\n  hapressure run --policy ./policy.yaml",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return usageError{err}
			}
			return daemon.Run(cmd.Context(), o)
		},
	}
	policyFlag(cmd, &o.Policy)
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "decide and tell, but touch no worker")
	cmd.Flags().StringVar(&o.Recordings, "recordings", daemon.StateFile("recordings"), "folder for recordings of what is sensed, decided and done; empty for none")
	cmd.Flags().IntVar(&o.RecordingsMiB, "recordings-size", daemon.RecordingsMiB, "bound of each target's recordings, in MiB; those of targets that are gone may have 16 times as much together")
	cmd.Flags().StringVar(&o.Socket, "control", control.Socket, "control socket, where systemd gives none; empty for none")
	allowEmpty(cmd, "recordings")
	allowEmpty(cmd, "control")
	cmd.Flags().StringVar(&o.Metrics, "metrics", "", "answer GET /metrics at this TCP `ADDRESS`, as 127.0.0.1:19787, to anybody")
	return cmd
}
