package main

import (
	"errors"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/doctor"
	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/progress"
)

func doctorCommand() *cobra.Command {
	var socket string
	var asJSON bool
	var screen *screenOptions
	cmd := &cobra.Command{
		Use:        "doctor",
		SuggestFor: []string{"check", "diagnose"},
		Short:      "Check this host, its HAProxy and hapressure itself, and print remedies",
		Long: `Check what hapressure needs of the kernel and of systemd, whether the policy
covers each HAProxy of this host, whether its memory could be freed, whether the kernel or
systemd-oomd may end all of it at once, and whether the service has the privileges that its actions
need. Nothing is changed.

Each line is ok, a warning or a problem, with a remedy. With a warning hapressure can do less
than it could; with a problem it cannot act. Without root doctor checks what it can. The
privileges are those of the daemon in its sandbox or, if it is not running, those of this
command.

Exit codes: 0 no problem, with or without warnings; 1 failed; 2 wrong usage; 3 problems.`,
		Example: "  hapressure doctor\n  hapressure doctor --json | jq '.findings[] | " +
			"select(.level != \"ok\")'",
		Args: usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			on, err := screen.of(cmd)
			if err != nil {
				return err
			}
			line := progress.Interruptible(cmd.ErrOrStderr(), "checking this host")
			findings, verdict := doctor.Examine(cmd.Context(), socket, version,
				host.Stderr{Writer: line})
			line.End()
			if asJSON {
				err := writeJSON(cmd.OutOrStdout(), doctor.Findings{Findings: findings})
				return errors.Join(err, verdict)
			}
			return errors.Join(doctor.Print(cmd.OutOrStdout(), on, findings), verdict)
		},
	}
	socketFlag(cmd, &socket)
	screen = screenFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
