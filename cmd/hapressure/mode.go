package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/steering"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/policy"
)

// steerFlags are the flags of the commands that change or show what is in force beside
// the policy.
type steerFlags struct {
	socket string
	target string
	json   bool
}

func (f *steerFlags) add(cmd *cobra.Command, target string) {
	socketFlag(cmd, &f.socket)
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.Flags().StringVarP(&f.target, "target", "t", "", target)
}

// check completes and checks the name of the target.
func (f *steerFlags) check() error {
	if f.target == "" {
		return nil
	}
	if !strings.HasPrefix(f.target, "/") && !strings.Contains(f.target, ".") {
		f.target += ".service"
	}
	if err := steering.CheckTarget(f.target); err != nil {
		return usageError{err}
	}
	return nil
}

func modeCommand() *cobra.Command {
	var flags steerFlags
	cmd := &cobra.Command{
		Use:   "mode [observe|purge-only|full]",
		Short: "Limit what is performed of the policy, or show the mode",
		Long: `Set how much of the policy is performed, or show it:

  - observe: hapressure decides and logs, and performs no action;
  - purge-only: hapressure performs only actions that cut no connection;
  - full: hapressure performs every action of the policy. This is the mode without a file.

A mode takes actions away and never adds any: what the policy does not contain is not performed
in any mode. Manual purges and the hooks of tiers are not limited.

The mode is kept in ` + steering.ModeFile + ` and survives restarts and upgrades. The command
writes the file, which needs root, and has the daemon read it. If the daemon is not running, it
starts in that mode. The file may also be written by hand or by a configuration management, also
before hapressure is installed: one line with the mode, and one line "TARGET MODE" for each target
with a mode of its own. If it has mistakes, no action is performed.

Without --target the mode is that of all targets, and replaces those of single targets.

Exit codes: 0 set or shown, 1 failed, 2 wrong usage.`,
		Example: "  hapressure mode\n  hapressure mode observe\n" +
			"  hapressure mode purge-only --target haproxy@blue",
		Args:      usage(cobra.MaximumNArgs(1)),
		ValidArgs: modeNames(),
		PreRunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				if flags.target != "" {
					return usageError{errors.New("--target needs a mode: write observe, " +
						"purge-only or full")}
				}
				return nil
			}
			if err := steering.CheckMode(policy.Mode(args[0])); err != nil {
				return usageError{err}
			}
			return flags.check()
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return flags.show(cmd)
			}
			mode := policy.Mode(args[0])
			return flags.steer(cmd, steering.OfHost().SetMode(flags.target, mode))
		},
	}
	flags.add(cmd, "set the mode of this `TARGET` only: a unit, or the path of a cgroup")
	return cmd
}

func modeNames() (names []string) {
	for _, m := range policy.Modes {
		names = append(names, string(m))
	}
	return names
}

func pauseCommand() *cobra.Command {
	var flags steerFlags
	var span time.Duration
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Stop all actions, for a time or until 'hapressure resume'",
		Long: `Stop all actions of the policy. hapressure still decides and logs. What runs is
stopped: a drain shuts no further session down and does not end its worker, page-out stops, frozen
threads are released. What was done stays: emptied caches, raised values of oom_score_adj, memory
in swap, which the kernel reads back when it is used.

A worker whose hard-stop-after ends during the pause is not drained. After the pause the tiers
begin as if they had just been entered, and workers that are overdue are drained one after another,
once a second sample has confirmed that memory is short. HAProxy's own hard-stop-after is not
affected.

A pause survives a restart of the daemon and ends at the next start of the machine. With --for it
ends by itself; the time counts also while the machine is suspended, and a change of the date does
not move it. A pause replaces an earlier one of the same target. For longer, use
'hapressure mode observe'.

The pause is kept in ` + steering.PauseFile + `, which needs root.

Exit codes: 0 paused, 1 failed, 2 wrong usage.`,
		Example: "  hapressure pause --for 1h\n  hapressure pause --target haproxy@blue",
		Args:    usage(cobra.NoArgs),
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("for") && (span < time.Second || span > steering.MaxPause) {
				return usageError{fmt.Errorf("--for %v: write a time from 1s to %v; for longer, "+
					"use 'hapressure mode observe'", span, steering.MaxPause)}
			}
			return flags.check()
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.steer(cmd, steering.OfHost().PauseFor(flags.target, span))
		},
	}
	cmd.Flags().DurationVar(&span, "for", 0, "end the pause after this `TIME`, such as 90m or 12h")
	flags.add(cmd, "pause this `TARGET` only: a unit, or the path of a cgroup")
	return cmd
}

func resumeCommand() *cobra.Command {
	var flags steerFlags
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "End a pause",
		Long: `End all pauses, or with --target the pause of that target. It is no error if there is
none. What was skipped during the pause is performed if it is due now, as the mode permits.

Exit codes: 0 no pause is left, 1 failed, 2 wrong usage.`,
		Example: "  hapressure resume",
		Args:    usage(cobra.NoArgs),
		PreRunE: func(*cobra.Command, []string) error { return flags.check() },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.steer(cmd, steering.OfHost().Resume(flags.target))
		},
	}
	flags.add(cmd, "end the pause of this `TARGET` only: a unit, or the path of a cgroup")
	return cmd
}

// steer has the daemon read the files that were written, with the given error, and prints
// what is in force then.
func (f *steerFlags) steer(cmd *cobra.Command, written error) error {
	if errors.Is(written, fs.ErrPermission) && os.Geteuid() != 0 {
		return fmt.Errorf("this requires root: run it with sudo (%w)", written)
	}
	if written != nil {
		return written
	}
	daemon := control.NewClient(f.socket)
	s, err := daemon.ReloadMode(cmd.Context())
	if errors.Is(err, control.ErrNoDaemon) {
		return f.print(cmd, withoutDaemon(cmd))
	}
	var now status.Status
	if err == nil {
		now, err = daemon.Status(cmd.Context())
	}
	if err != nil {
		return fmt.Errorf("it is set, but the daemon has not confirmed that it is in force: %w",
			err)
	}
	guarded := func(t status.Target) bool { return t.Name == f.target }
	if f.target != "" && !slices.ContainsFunc(now.Targets, guarded) {
		fmt.Fprintf(cmd.ErrOrStderr(), "hapressure: warning: no target %q is guarded now\n",
			f.target)
	}
	return f.print(cmd, s)
}

// show prints what is in force, or what would be if the daemon ran.
func (f *steerFlags) show(cmd *cobra.Command) error {
	s, err := control.NewClient(f.socket).Mode(cmd.Context())
	switch {
	case errors.Is(err, control.ErrNoDaemon):
		s = withoutDaemon(cmd)
	case err != nil:
		return err
	}
	return f.print(cmd, s)
}

// withoutDaemon returns what the files say, and prints that no daemon obeys them.
func withoutDaemon(cmd *cobra.Command) status.Steering {
	fmt.Fprintln(cmd.ErrOrStderr(),
		"hapressure: the daemon is not running: it would start with this")
	files := steering.OfHost()
	s := files.Read()
	return s.Describe(func(target string) status.Mode { return s.ModeOf(target, files.Now()) })
}

func (f *steerFlags) print(cmd *cobra.Command, s status.Steering) error {
	if f.json {
		return writeJSON(cmd.OutOrStdout(), s)
	}
	return render.Modes(cmd.OutOrStdout(), s)
}
