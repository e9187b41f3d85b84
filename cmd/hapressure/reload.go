package main

import (
	"github.com/spf13/cobra"

	"hapressure/controller/control"
)

func reloadCommand() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon read its policy anew; what systemctl reload runs",
		Long: `Have the daemon read the files of its policy anew, and wait until they are in force. It does so by itself when they change; this tells
whether they are good. Where they have mistakes these are printed, and the policy in force stays.

Exit codes: 0 in force, 1 mistakes, or the daemon does not run, 2 wrong usage.`,
		Example: "  hapressure reload",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return control.NewClient(socket).Reload(cmd.Context())
		},
	}
	socketFlag(cmd, &socket)
	return cmd
}
