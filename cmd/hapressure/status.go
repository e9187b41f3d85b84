package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/policy"
)

func statusCommand() *cobra.Command {
	var socket string
	var asJSON bool
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each target's tier, memory, pressure and workers, and what was done",
		Long: `Show for each target the tier it is in, since when and why; memory used of the limit that is nearest, and how many more reloads fit;
pressure; its workers with their connections, caches and the time at which they are ended; and the last actions with what they freed.

The daemon is asked over its control socket. Where it does not run, the command looks itself and says so: there is no tier then.

Exit codes: 0 shown, 1 failed, 2 wrong usage, 3 shown, but no daemon runs.`,
		Example: "  hapressure status\n  hapressure status --watch\n  hapressure status --json | jq '.targets[].tier'",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch != 0 && asJSON {
				return usageError{errors.New("give only one of --watch and --json")}
			}
			for {
				s, err := status(cmd.Context(), socket)
				if err != nil {
					return err
				}
				switch {
				case asJSON:
					err = writeJSON(cmd.OutOrStdout(), s)
				case watch != 0:
					fmt.Fprint(cmd.OutOrStdout(), "\x1b[H\x1b[2J")
					fallthrough
				default:
					err = printStatus(cmd.OutOrStdout(), s)
				}
				if err == nil && s.Daemon == nil && watch == 0 {
					err = errNoDaemon
				}
				if err != nil || watch == 0 {
					return err
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(watch):
				}
			}
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVarP(&watch, "watch", "w", 0, "show it again after each `INTERVAL`, until interrupted")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	return cmd
}

func socketFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "socket", control.Socket, "the daemon's control socket")
}

// errNoDaemon says that what was shown was not told by the daemon.
var errNoDaemon = errors.New("the daemon does not run")

// status asks the daemon, or looks where there is none.
func status(ctx context.Context, socket string) (controller.Status, error) {
	s, err := control.NewClient(socket).Status(ctx)
	if !errors.Is(err, control.ErrNoDaemon) {
		return s, err
	}
	if os.Geteuid() != 0 {
		return s, fmt.Errorf("%w, and looking without it needs root: run this with sudo", err)
	}
	p, files, err := loadPolicy()
	if err != nil {
		return s, err
	}
	config, err := configOf(p, quiet{})
	if err != nil {
		return s, err
	}
	config.Origin = origin(files)
	return controller.New(config).Look(ctx), nil
}

func printStatus(out io.Writer, s controller.Status) error {
	if s.Daemon == nil {
		fmt.Fprintln(out, "The daemon does not run; this is what a look shows. Start it: systemctl start hapressure")
	}
	for _, t := range s.Targets {
		if err := printTarget(out, t, s); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	if len(s.Targets) == 0 {
		fmt.Fprintln(out, "No target of the policy is running.")
	}
	fmt.Fprintf(out, "Policy  %s, in force since %s\n", s.Policy.Origin, ago(s.At, s.Policy.Since))
	if s.Policy.Rejected != "" {
		fmt.Fprintf(out, "        NOT in force, for its files have mistakes now:\n%s\n", s.Policy.Rejected)
	}
	if d := s.Daemon; d != nil {
		fmt.Fprintf(out, "Daemon  %s, pid %d, started %s\n", d.Version, d.PID, ago(s.At, d.Started))
		if d.DryRun {
			fmt.Fprintln(out, "        dry run: no worker is touched")
		}
		for _, r := range d.MissingRights {
			fmt.Fprintf(out, "        missing %s\n", r)
		}
	}
	return nil
}

func printTarget(out io.Writer, t controller.TargetStatus, s controller.Status) error {
	tier := "tier not known without the daemon"
	if s.Daemon != nil {
		tier = "no tier"
		if t.Tier > 0 {
			tier = fmt.Sprintf("tier %s (%d of %d)", t.Tiers[t.Tier-1], t.Tier, len(t.Tiers))
		}
		if t.TierSince != nil {
			tier += fmt.Sprintf(" since %s: %s", ago(s.At, *t.TierSince), t.TierWhy)
		}
	}
	fmt.Fprintf(out, "%s  %s\n", t.Name, tier)
	fmt.Fprintf(out, "  memory    %s of %s used (%s), %s\n", size(t.Limit.Used), size(t.Limit.Bytes), t.Limit.Name, room(t.ReloadRoom))
	fmt.Fprintf(out, "  pressure  some %s, full %s (10 s); some %s, full %s (60 s)\n", percent(t.Some10), percent(t.Full10), percent(t.Some60), percent(t.Full60))
	for _, sensor := range slices.Sorted(maps.Keys(t.Missing)) {
		fmt.Fprintf(out, "  missing   %s: %s\n", sensor, t.Missing[sensor])
	}
	if t.WorkersAbsent != "" {
		fmt.Fprintf(out, "  workers   as of an earlier look: %s\n", t.WorkersAbsent)
	}
	if t.HardStopAfter != nil {
		fmt.Fprintf(out, "  hard stop the policy's effective hard-stop-after is %s\n", span(*t.HardStopAfter))
	}
	for _, m := range t.Masters {
		fmt.Fprintln(out)
		if err := printTable(out, "  ", m.Workers); err != nil {
			return err
		}
	}
	if len(t.Actions) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, a := range slices.Backward(t.Actions) {
		fmt.Fprintf(w, "  %s\t%s\tgen %d, pid %d\t%s\n", ago(s.At, a.At), a.Action, a.Generation, a.PID, cmp.Or(strings.TrimSuffix(a.What+": "+a.Error, ": "), string(a.Result)))
	}
	return w.Flush()
}

func room(r policy.Reading) string {
	if r.Absent != "" {
		return "room for reloads not known: " + r.Absent
	}
	return fmt.Sprintf("room for %.1f reloads", r.Value)
}

func percent(r policy.Reading) string {
	if r.Absent != "" {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", r.Value)
}

func ago(now, then time.Time) string { return span(max(0, now.Sub(then)).Seconds()) + " ago" }
