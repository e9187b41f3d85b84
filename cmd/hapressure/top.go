package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/gdamore/tcell/v2"
	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/inspect"
	"hapressure/cmd/hapressure/internal/playback"
	"hapressure/cmd/hapressure/internal/recordings"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/cmd/hapressure/internal/top"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/policy/record"
)

func topCommand() *cobra.Command {
	var socket string
	var ascii, replayed bool
	cmd := &cobra.Command{
		Use:        "top [--replay FILE...]",
		SuggestFor: []string{"watch", "monitor"},
		Short:      "Watch memory, pressure, tiers and workers live, and purge",
		Long: `Show the targets, updated once a second. With several targets the first screen is an
overview, the worst first. A target is shown with charts of the last ten minutes of its memory,
of its tier and of its pressure (some and full, averages over 10 s); its workers, one of them in
detail; and the last actions. Lines in the charts show from where on the policy in force enters its
tiers: by usage and the room for reloads in the chart of memory, and by pressure.

` + top.Keys() + `

top asks the daemon over its control socket, also to purge. If the daemon is not running, top
inspects the host itself, which needs root, and purges as 'hapressure purge' does. There is no
tier then, and the history begins with top.

With --replay top shows recordings instead: those of the daemon, of 'hapressure record' or of
'hapressure simulate', of one or several targets. It begins at their start, paused. Recordings
do not contain the proofs, shared memory and what HAProxy's configuration sets.

The screen needs 40 columns and 8 lines. Colours are not used if the terminal has none or NO_COLOR
is set. Only ASCII characters are used in a locale without UTF-8, on a vt100 to vt420, and with
--ascii.

Exit codes: 0 quit, 1 failed, 2 wrong usage.`,
		Example: "  hapressure top\n" +
			"  hapressure top --replay /var/lib/hapressure/recordings/haproxy.service/*",
		Args: usage(func(cmd *cobra.Command, args []string) error {
			switch {
			case replayed:
				return someArguments("FILE")(cmd, args)
			case len(args) > 0:
				return fmt.Errorf("%s shows the present, and %q is an argument; to show a "+
					"recording: %[1]s --replay %s", cmd.CommandPath(), args[0], args[0])
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := host.UntilSignal(cmd.Context())
			defer stop()
			m := top.New()
			var notes host.Notes
			in := inspect.Inspector{Socket: socket, Journal: &notes}
			m.Ask = func(ctx context.Context) (s status.Status, note string, err error) {
				s, err = in.Status(ctx)
				return s, strings.Join(notes.Take(), "; "), err
			}
			m.Purge = func(ctx context.Context, target string, pid int, dryRun bool) (
				status.Purge, error) {
				return purgeOne(ctx, control.NewClient(socket), target, pid, dryRun)
			}
			if replayed {
				m.Load = func(ctx context.Context, progress func(string)) (
					*playback.Recording, error) {
					return recording(ctx, args, progress)
				}
			}
			s, err := tcell.NewScreen()
			if err == nil {
				err = s.Init()
			}
			if err != nil {
				return fmt.Errorf("preparing the terminal ('hapressure status' needs none): %w",
					err)
			}
			defer s.Fini()
			m.ASCII = ascii || s.CharacterSet() != "UTF-8" ||
				strings.HasPrefix(os.Getenv("TERM"), "vt")
			return m.Run(ctx, s)
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().BoolVar(&ascii, "ascii", false,
		"draw with ASCII characters only, as in a locale without UTF-8")
	cmd.Flags().BoolVar(&replayed, "replay", false,
		"show recordings, the files named by the arguments")
	return cmd
}

// progressEvery is how many samples are read from one report of progress to the next.
const progressEvery = 1000

// recording reads recordings.
func recording(ctx context.Context, files []string, progress func(string)) (
	*playback.Recording, error) {
	var r playback.Recording
	n := 0
	for _, name := range files {
		if _, _, err := recordings.Read(name, func(e record.Event) error {
			if e.Tick != nil {
				if n++; n%progressEvery == 0 {
					progress(fmt.Sprintf("%s: %s", name, policy.Count(n, "sample")))
				}
			}
			return errors.Join(ctx.Err(), r.Add(e))
		}); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if n == 0 {
		return nil, errors.New("the recordings contain no sample")
	}
	return &r, nil
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
