package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/recordings"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/policy"
)

func recordCommand() *cobra.Command {
	var files []string
	var target, out string
	var wait bool
	cmd := &cobra.Command{
		Use:   "record -o FILE",
		Short: "Record a target without changing it",
		Long: `Sense and decide as the daemon does, change no worker, and write samples and
decisions to FILE until SIGINT or SIGTERM. 'hapressure replay' reads the recording. The daemon
may run at the same time; its own recordings are in /var/lib/hapressure/recordings.

If the target is not running, record fails; with --wait the recording begins when the target
starts. If FILE cannot be written, record exits.

Exit codes: 0 stopped by a signal, 1 failed, 2 wrong usage.`,
		Example: "  hapressure record -o storm.rec --target haproxy.service\n" +
			"  hapressure record -o storm.rec --target system.slice/haproxy.service --wait",
		Args: usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, _, err := policyfiles.Load(files...)
			if err != nil {
				return err
			}
			if target != "" {
				if own := p.For(target); own != nil {
					p = own
				}
				p.Targets = []policy.Target{selector.Target(target)}
			}
			if len(p.Targets) != 1 || strings.ContainsAny(p.Targets[0].Unit+p.Targets[0].Cgroup,
				"*?[") {
				return usageError{errors.New("a recording is of one target, and the policy has " +
					"several: choose one with --target")}
			}
			if out == "" {
				return errNoOutput
			}
			config, err := host.Config(p, host.Stderr{Writer: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			config.DryRun, config.Known = true, controller.KnownWorkers(control.Dir)
			if err := mustRun(cmd, config, wait); err != nil {
				return err
			}
			w, err := create(cmd, out)
			if err != nil {
				return err
			}
			ctx, stop := host.UntilSignal(cmd.Context())
			defer stop()
			err = recordings.Record(ctx, w, config)
			if err = cmp.Or(err, w.Close()); err != nil {
				err = fmt.Errorf("recording: %w", err)
			}
			return err
		},
	}
	policyFlag(cmd, &files)
	cmd.Flags().StringVar(&target, "target", "",
		"`UNIT` or path of a cgroup to record instead of the policy's targets")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the target is running")
	cmd.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write, - for standard output")
	return cmd
}

// mustRun returns an error if the target is not running; with wait it prints that the
// command waits.
func mustRun(cmd *cobra.Command, config controller.Config, wait bool) error {
	var unread host.Notes
	config.Journal = &unread
	if len(controller.New(config).Inspect(cmd.Context()).Targets) > 0 {
		return nil
	}
	for _, why := range unread.Take() { // that may be why
		fmt.Fprintln(cmd.ErrOrStderr(), render.Wrap(why, 0, 2))
	}
	name := config.Policy.Targets[0].Unit + config.Policy.Targets[0].Cgroup // it has one of them
	if !wait {
		return fmt.Errorf("%s is not running: start it, or use --wait to begin when it starts",
			name)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Waiting for %s\n", name)
	return nil
}
