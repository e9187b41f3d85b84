package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hapressure/cgroup"
	"hapressure/controller"
	"hapressure/policy"
	"hapressure/systemd"
)

func runCommand() *cobra.Command {
	var files []string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Guard HAProxy until stopped; what the service runs",
		Long: `Guard the targets of the policy until SIGTERM or SIGINT; SIGHUP loads the policy anew. Every change of tier and every action is one entry in the journal, or
one line on standard error where that is not the journal.

Without --policy the policy is ` + policyFile + ` if it exists, else the built-in one, which guards haproxy.service, with the
drop-ins in ` + dropIns[0] + `.`,
		Example: "  hapressure run --dry-run\n  hapressure run --policy ./policy.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), files, dryRun)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "policy", "p", nil, "policy `FILE` instead of this host's; given again, a drop-in")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "decide and tell, but touch no worker")
	return cmd
}

func run(ctx context.Context, files []string, dryRun bool) error {
	journal := systemd.NewJournal(os.Stderr)
	p, origin, err := loadPolicy(files...)
	if err != nil {
		rejectPolicy(journal, files, err)
		return err
	}
	mount, err := cgroup.Mount()
	if err != nil {
		return fmt.Errorf("looking for cgroup v2: %w", err)
	}
	notify := systemd.Notifier{}
	config := controller.Config{
		Policy: p, DryRun: dryRun, Procfs: "/proc", Cgroups: mount, Journal: journal,
		Connect: func(ctx context.Context) (controller.Units, error) { return systemd.Connect(ctx) },
		Status:  func(text string) { notify.Status(text) },
	}
	mode := ""
	if dryRun {
		mode = ", dry run: no worker will be touched"
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	journal.Send(systemd.Entry{MessageID: systemd.Started, Message: fmt.Sprintf("hapressure %s started with %s%s", version, origin, mode),
		Fields: map[string]string{"HAPRESSURE_POLICY": origin}})
	if err := notify.Ready(); err != nil {
		return fmt.Errorf("telling systemd that we are ready: %w", err)
	}
	for err == nil && config.Policy != nil {
		config.Policy, err = guard(ctx, config, reload, func() *policy.Policy {
			notify.Reloading()
			defer notify.Ready()
			return reloadPolicy(journal, files)
		})
	}
	notify.Stopping()
	journal.Send(systemd.Entry{MessageID: systemd.Stopped, Message: "hapressure stopped; HAProxy goes on as it is"})
	return err
}

// guard guards until ctx ends, or until load has a new policy, which it returns. load is called on each signal.
func guard(ctx context.Context, config controller.Config, reload <-chan os.Signal, load func() *policy.Policy) (*policy.Policy, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := controller.New(config)
	go watchdog(ctx, systemd.Notifier{}, c)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	for {
		select {
		case err := <-ended:
			return nil, err
		case <-reload:
			if p := load(); p != nil {
				cancel()
				return p, <-ended
			}
		}
	}
}

// reloadPolicy returns the policy as its files have it now; nil if it has mistakes, which the journal then tells.
func reloadPolicy(journal *systemd.Journal, files []string) *policy.Policy {
	p, origin, err := loadPolicy(files...)
	if err != nil {
		rejectPolicy(journal, files, fmt.Errorf("the policy before stays in force: %w", err))
		return nil
	}
	journal.Send(systemd.Entry{MessageID: systemd.PolicyLoaded, Message: "Loaded " + origin, Fields: map[string]string{"HAPRESSURE_POLICY": origin}})
	return p
}

func rejectPolicy(journal *systemd.Journal, files []string, err error) {
	journal.Send(systemd.Entry{MessageID: systemd.PolicyRejected, Priority: 3, Message: err.Error(),
		Fields: map[string]string{"HAPRESSURE_POLICY": strings.Join(files, " ")}})
}

// watchdog tells systemd that we are alive as long as no target goes unlooked at.
func watchdog(ctx context.Context, notify systemd.Notifier, c *controller.Controller) {
	interval, ok := notify.WatchdogInterval()
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
				notify.Watchdog()
			}
		}
	}
}
