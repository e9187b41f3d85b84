// Package daemon is the service: it locks the host, guards the targets of the policy, and
// answers at the control socket.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/steering"
	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/systemd"
)

// ErrLogged is wrapped by errors that the journal has an entry of.
var ErrLogged = errors.New("logged")

// Run guards the targets of the policy until SIGTERM or SIGINT.
func Run(ctx context.Context, o Options) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before systemd learns that the daemon is ready for it
	// If journald crashes, standard error is a broken pipe, which ends a Go program that
	// does not catch SIGPIPE. It is not ignored, because child processes would inherit
	// that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	journal := openJournal(o.LogFormat)
	defer closeJournal(journal)
	if !o.DryRun {
		if err := lockThisHost(journal); err != nil {
			return err
		}
	}
	lastGood := cmp.Or(StateFile("policy/in-force"), runtimeFile("policy/in-force"))
	files := policyfiles.NewFollower(o.Policy, lastGood, journal)
	p, from, mistakes := files.Begin()
	if p == nil {
		return fmt.Errorf("%w: %w", ErrLogged, mistakes)
	}
	ctx, stop := host.UntilSignal(ctx) // from here on there is something to clean up
	defer stop()
	go files.KeepLast(ctx)
	config, err := host.Config(p, journal)
	if err != nil {
		return err
	}
	config.DryRun, config.Origin = o.DryRun, from
	config.Daemon = &status.Daemon{Version: o.Version, PID: os.Getpid(), Started: time.Now(),
		DryRun:        o.DryRun,
		MissingRights: controller.MissingPrivileges(host.Procfs)}
	config.Status = func(text string) { systemd.Status(text) }
	config.StateDir = runtimeFile("")
	keepRecordings(&config, o.Recordings, o.RecordingsMiB)
	steer, set := steering.Follow(steering.OfHost())
	config.Steering = set
	c := controller.New(config)
	if mistakes != nil {
		c.KeepPolicy(mistakes)
	}
	events := controller.Events{Journal: journal}
	events.Started(o.Version, from, unusual(c.Modes().Mode))
	if set.Unknown != "" {
		events.ModeUnknown(set.Unknown)
	}
	for _, m := range config.Daemon.MissingRights {
		events.RightMissing(m)
	}
	if err := systemd.Ready(); err != nil {
		return fmt.Errorf("notifying systemd: %w", err)
	}
	lockResident()
	go watchdog(ctx, c)
	go files.Follow(ctx, c, hup)
	go steer.Run(ctx, c.Steer)
	metrics := c.Metrics()
	reload := control.Reload{Policy: files.Reload, Mode: steer.Reload}
	serve(ctx, control.Handler(c, reload, metrics), metrics, journal, o)
	c.Run(ctx)
	systemd.Stopping()
	events.Stopped()
	return nil
}

// unusual says in which mode the daemon starts, "" if it performs every action.
func unusual(m status.Mode) string {
	if m.Acts() {
		return ""
	}
	return ", " + render.ModeText(m)
}

// watchdog notifies systemd as long as the guards of all targets tick.
func watchdog(ctx context.Context, c *controller.Controller) {
	interval, ok := systemd.WatchdogInterval()
	if !ok {
		return
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := c.Healthy(interval); err == nil {
				systemd.Watchdog()
			}
		}
	}
}
