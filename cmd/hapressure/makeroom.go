package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/policy"
)

// errNoRoom is the error if reloads do not fit.
var errNoRoom = errors.New("no room")

func makeRoomCommand() *cobra.Command {
	var socket string
	var target policy.Target
	var asJSON bool
	var request controller.RoomRequest
	cmd := &cobra.Command{
		Use:        "make-room",
		SuggestFor: []string{"room"},
		Short:      "Wait until a reload of HAProxy fits into memory",
		Long: `Wait until reloads of HAProxy fit into memory, before one begins. Meanwhile the
daemon does what all tiers of the policy may do without cutting a connection, also if they were not
entered. It drains stopping workers only if the policy has make-room: {drain: true}.

A reload fits if the nearest limit has room for --reloads times the current worker's memory: once
for the check of the configuration, and once for the new worker. make-room also waits until the
worker of an earlier reload has started. It does not wait if waiting is futile: no worker is
stopping, and only the target's own memory counts.

make-room is made to be the first ExecReload= of HAProxy's unit, with the prefix "-", so that its
failure is not the reload's: /usr/share/doc/hapressure/examples/haproxy-make-room.conf. If the
daemon is not running, or the room is not known, it prints a warning and exits with 0.

Exit codes: 0 reloads fit, or it is not known whether they fit; 1 failed: no such target, or the
daemon does not answer; 2 wrong usage; 4 they do not fit: the error says what is missing.`,
		Example: "  hapressure make-room --unit haproxy\n" +
			"  hapressure make-room --cgroup /kubepods.slice/lb --reloads 1 --timeout 10s --json",
		Args: usage(noArguments),
		PreRunE: func(*cobra.Command, []string) error {
			if target.Unit != "" && target.Cgroup != "" {
				return usageError{errors.New("give only one of --unit and --cgroup")}
			}
			if err := control.CheckRoom(request); err != nil {
				return usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := host.UntilSignal(cmd.Context())
			defer stop()
			if target.Unit != "" && !strings.Contains(target.Unit, ".") {
				target.Unit += ".service"
			}
			request.Target = selector.NameOf(target)
			room, err := control.NewClient(socket).MakeRoom(ctx, request)
			if errors.Is(err, control.ErrNoDaemon) {
				room = status.Room{
					Target: request.Target, Result: status.NoDaemon, Reloads: request.Reloads,
					Reason: err.Error(),
				}
			} else if err != nil {
				return err
			}
			return printRoom(cmd, room, asJSON)
		},
	}
	socketFlag(cmd, &socket)
	flags := cmd.Flags()
	flags.StringVarP(&target.Unit, "unit", "u", "", "HAProxy of this systemd `UNIT`; may be left "+
		"out if only one HAProxy is guarded")
	flags.StringVar(&target.Cgroup, "cgroup", "", "HAProxy in the cgroup at this `PATH`")
	flags.Float64Var(&request.Reloads, "reloads", control.RoomReloads,
		"how many times the current worker's memory must fit")
	flags.DurationVar(&request.Timeout, "timeout", control.RoomTimeout,
		"wait for this time at most, up to 50s; less than TimeoutStartSec= of HAProxy's unit")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printRoom prints the answer, and returns the error from which the exit code follows.
func printRoom(cmd *cobra.Command, room status.Room, asJSON bool) error {
	var err error
	if asJSON {
		err = writeJSON(cmd.OutOrStdout(), room)
	} else if room.Result == status.RoomFound {
		_, err = io.WriteString(cmd.OutOrStdout(), render.Room(room))
	}
	switch room.Result {
	case status.NoRoom:
		return errors.Join(err, fmt.Errorf("%w for a reload of %s: %s", errNoRoom, room.Target,
			room.Reason))
	case status.RoomUnknown, status.NoDaemon:
		fmt.Fprintf(cmd.ErrOrStderr(), "hapressure: warning: it is not known whether a reload "+
			"fits: %s\n", render.Wrap(room.Reason, 0, 0))
	}
	return err
}
