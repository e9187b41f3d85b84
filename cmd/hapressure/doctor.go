package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/doctor"
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
			findings, verdict := doctor.Examine(cmd.Context(), socket, version)
			if asJSON {
				return errors.Join(writeJSON(cmd.OutOrStdout(), map[string]any{"findings": findings}), verdict)
			}
			for _, f := range findings {
				fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			return verdict
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
