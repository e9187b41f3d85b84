package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/inspect"
	"hapressure/cmd/hapressure/internal/render"
)

func statusCommand() *cobra.Command {
	var socket string
	var asJSON bool
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each target's tier, memory, pressure and workers, and what was done",
		Long: `Show for each target the tier it is in, since when and why, what would leave it, and actions that are withheld because they would
free too little; memory used of the limit with the least headroom, and how many more reloads fit; the limit that is used most, if it is another;
pressure; its workers with their connections, caches and the time at which they are ended; and the last actions with what they freed.
What does not apply or is not known is shown as -, and below unknown is why.

The daemon is asked over its control socket. Where it does not run, the command looks itself and says so: there is no tier then.

The fields of --json are described in docs/status.md, /usr/share/doc/hapressure/status.md. There may come more; none goes.

Exit codes: 0 shown, 1 failed, 2 wrong usage, 3 shown, but no daemon runs.`,
		Example: "  hapressure status\n  hapressure status --watch\n  hapressure status --json | jq '.targets[].tier'",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			watched := cmd.Flags().Changed("watch")
			switch out := cmd.OutOrStdout(); {
			case watched && watch < watchLeast:
				return usageError{fmt.Errorf("--watch takes an interval of %v at least", watchLeast)}
			case watched && asJSON:
				return usageError{errors.New("give only one of --watch and --json")}
			case watched:
				ctx, stop := host.UntilSignal(cmd.Context())
				defer stop()
				return watchStatus(ctx, out, socket, watch)
			default:
				in := inspect.Inspector{Socket: socket, Journal: host.Stderr{}}
				s, err := in.Status(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					err = writeJSON(out, s)
				} else {
					width, _ := render.Window(out)
					_, err = io.WriteString(out, render.Status(s, width))
				}
				if err == nil && s.Daemon == nil {
					err = errNoDaemon
				}
				return err
			}
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVarP(&watch, "watch", "w", 0, "show it again every `INTERVAL`, 1s at least, until interrupted")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	return cmd
}

// watchLeast is the shortest interval of --watch. The daemon reads its targets at most that often, and without a daemon
// each status reads the host, and asks HAProxy.
const watchLeast = time.Second

// watchStatus shows the status again and again, on a terminal in the same place: on its other screen, so that what was there comes back
// at the end, followed by what was shown last.
func watchStatus(ctx context.Context, out io.Writer, socket string, every time.Duration) error {
	last := ""
	if width, _ := render.Window(out); width > 0 {
		io.WriteString(out, "\x1b[?1049h")
		defer func() { io.WriteString(out, "\x1b[?1049l"+last) }()
	}
	var notes host.Notes
	in := inspect.Inspector{Socket: socket, Journal: &notes}
	for {
		width, height := render.Window(out)
		s, err := in.Status(ctx)
		noted := ""
		for _, line := range notes.Take() {
			noted += render.Wrap(line, width, 2) + "\n"
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			last = render.Wrap(fmt.Sprintf("hapressure: %v; trying again", err), width, 2) + "\n"
		default:
			last = render.Status(s, width) + noted
		}
		shown := last + "\n"
		if width > 0 {
			lines := strings.Split(last, "\n")
			shown = "\x1b[H" + strings.Join(lines[:min(len(lines), height)], "\x1b[K\r\n") + "\x1b[J"
		}
		if _, err := io.WriteString(out, shown); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}
