package main

import (
	"github.com/spf13/cobra"

	"hapressure/controller/control"
)

func reloadCommand() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon read its policy files again; systemctl reload runs this",
		Long: `Have the daemon read its policy files again, and wait until they are in force. The
daemon also reads them by itself when they change. If the files have mistakes, reload prints
them and the policy in force stays.

Exit codes: 0 in force, 1 mistakes, or the daemon is not running, 2 wrong usage.`,
		Example: "  hapressure reload",
		Args:    usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return control.NewClient(socket).Reload(cmd.Context())
		},
	}
	socketFlag(cmd, &socket)
	return cmd
}
