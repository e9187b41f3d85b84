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
		Use:        "top",
		SuggestFor: []string{"watch", "monitor"},
		Short:      "Watch memory, pressure, tiers and workers live, and purge",
		Long: `Show one target at a time, updated once a second: the last ten minutes of its
memory below the limit, of its pressure (some and full, averages over 10 s) and of its tier; its
workers; and the last actions.

` + top.Keys + `

top asks the daemon over its control socket, also to purge. If the daemon is not running, top inspects the
host itself, which needs root, and purges as 'hapressure purge' does. There is no tier then, and the
history begins with top. NO_COLOR turns colours off.

Exit codes: 0 quit, 1 failed, 2 wrong usage.`,
		Args: usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := host.UntilSignal(cmd.Context())
			defer stop()
			s, err := tcell.NewScreen()
			if err == nil {
				err = s.Init()
			}
			if err != nil {
				return fmt.Errorf("preparing the terminal ('hapressure status' needs none): %w",
					err)
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
				Purge: func(ctx context.Context, target string, pid int, dryRun bool) (status.Purge,
					error) {
					return purgeOne(ctx, control.NewClient(socket), target, pid, dryRun)
				},
			}
			m.Run(ctx, s)
			return nil
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().BoolVar(&ascii, "ascii", false,
		"draw with ASCII characters only, as in a locale without UTF-8")
	return cmd
}

// purgeOne has the daemon purge a worker, or purges it if no daemon is running.
func purgeOne(ctx context.Context, daemon *control.Client, target string, pid int,
	dryRun bool) (status.Purge, error) {
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
