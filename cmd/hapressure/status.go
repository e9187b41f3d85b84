package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/inspect"
	"hapressure/cmd/hapressure/internal/progress"
	"hapressure/cmd/hapressure/internal/render"
)

// errWatch answers a flag of earlier releases.
var errWatch = usageError{errors.New("--watch was removed: use 'hapressure top', or 'watch " +
	"hapressure status'")}

func statusCommand() *cobra.Command {
	var socket string
	var asJSON bool
	var screen *screenOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each target's tier, memory, pressure, workers and last actions",
		Long: `Show for each target:

  - its tier, since when and why, what would leave the tier, and withheld actions;
  - the memory used of the nearest limit, and how many more reloads fit;
  - the limit of which the largest share is used, if it is another one;
  - pressure;
  - its workers with their connections and caches, and when they are terminated;
  - the last actions with the memory that they freed.

A value that does not apply or is unknown is shown as -, and the lines "unknown" give the
reasons.

status asks the daemon over its control socket. If the daemon is not running, status inspects
the host itself, which needs root. There is no tier then.

docs/status.md (/usr/share/doc/hapressure/status.md) describes the fields of --json. Fields may
be added; none is removed or renamed.

Exit codes: 0 shown, 1 failed, 2 wrong usage, 3 shown, but the daemon is not running.`,
		Example: "  hapressure status\n  hapressure status --json | jq '.targets[].tier'",
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("watch") {
				return errWatch // also of --watch 5, where 5 is an argument
			}
			return usage(noArguments)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			on, err := screen.of(cmd)
			if err != nil {
				return err
			}
			line := progress.Interruptible(cmd.ErrOrStderr(), "asking for the status")
			in := inspect.Inspector{Socket: socket, Journal: host.Stderr{Writer: line}}
			s, err := in.Status(cmd.Context())
			line.End()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				err = writeJSON(out, s)
			} else {
				_, err = io.WriteString(out, render.Status(s, on))
			}
			if err == nil && s.Daemon == nil {
				err = errNoDaemon
			}
			return err
		},
	}
	socketFlag(cmd, &socket)
	screen = screenFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringP("watch", "w", "", "")
	watch := cmd.Flags().Lookup("watch")
	watch.Hidden, watch.NoOptDefVal = true, "2s"
	return cmd
}
