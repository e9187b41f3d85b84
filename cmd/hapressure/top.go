package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gdamore/tcell/v2"
	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/inspect"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/cmd/hapressure/internal/top"
	"hapressure/controller/control"
	"hapressure/controller/status"
)

func topCommand() *cobra.Command {
	var socket string
	var ascii bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch memory, pressure, tiers and workers live, and purge by hand",
		Long: `Show one target at a time, once a second: the last ten minutes of its memory under the limit, of its pressure (some and full, averages
over 10 s) and of the tier it was in, its workers, and the last actions.

` + top.Keys + `

The daemon is asked over its control socket, also to purge. Where it does not run, the command looks itself, needs root, and purges as
'hapressure purge' does; there is no tier then, and no history but what it has seen itself. Colours are left out where NO_COLOR is set.

Exit codes: 0 it was quit, 1 failed, 2 wrong usage.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := host.UntilSignal(cmd.Context())
			defer stop()
			s, err := tcell.NewScreen()
			if err == nil {
				err = s.Init()
			}
			if err != nil {
				return fmt.Errorf("preparing the terminal; 'hapressure status' needs none: %w", err)
			}
			defer s.Fini()
			var notes host.Notes
			in := inspect.Inspector{Socket: socket, Journal: &notes}
			m := top.Model{
				ASCII: ascii || s.CharacterSet() != "UTF-8",
				Ask: func(ctx context.Context) (s status.Status, note string, err error) {
					s, err = in.Status(ctx)
					return s, strings.Join(notes.Take(), "; "), err
				},
				Purge: func(ctx context.Context, target string, pid int, dryRun bool) (status.Purge, error) {
					return purgeOne(ctx, control.NewClient(socket), target, pid, dryRun)
				},
			}
			m.Run(ctx, s)
			return nil
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().BoolVar(&ascii, "ascii", false, "draw with ASCII characters only, as where the locale has no UTF-8")
	return cmd
}

// purgeOne has the daemon purge a worker, or does it where there is none.
func purgeOne(ctx context.Context, daemon *control.Client, target string, pid int, dryRun bool) (status.Purge, error) {
	done, err := daemon.Purge(ctx, target, pid, dryRun)
	if !errors.Is(err, control.ErrNoDaemon) {
		return done, err
	}
	rows, err := purgeHere(ctx, selector.Selector{PID: pid}, dryRun, func(int, int) {})
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("%d is no worker", pid)
	}
	if err != nil {
		return status.Purge{}, err
	}
	return rows[0], nil
}
