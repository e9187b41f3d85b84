package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"hapressure/controller"
	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/systemd"
)

// stateFile is a file or folder in the service's StateDirectory=, runtimeFile one in its RuntimeDirectory=; "" where there is none.
func stateFile(name string) string   { return fileOf("STATE_DIRECTORY", name) }
func runtimeFile(name string) string { return fileOf("RUNTIME_DIRECTORY", name) }

func fileOf(variable, name string) string {
	dir, _, _ := strings.Cut(os.Getenv(variable), ":")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// keepRecordings has a controller record each target in a folder of its own, of so many MiB at most.
func keepRecordings(c *controller.Config, dir string, mib int) {
	if dir == "" || mib <= 0 {
		return
	}
	c.Recordings = controller.Recordings{Dir: dir, PerTarget: int64(mib) << 20}
	c.Record, c.RecordSize = c.Recordings.Open, c.Recordings.FileSize()
	if c.Daemon != nil {
		c.Daemon.Recordings = &status.Recordings{Dir: dir, BytesPerTarget: c.Recordings.PerTarget}
	}
}

func recordCommand() *cobra.Command {
	var files []string
	var target, out string
	var wait bool
	cmd := &cobra.Command{
		Use:   "record -o FILE",
		Short: "Record a target without touching it",
		Long: `Sense and decide as the daemon does, touch no worker, and write all of it into FILE until SIGINT or SIGTERM. The recording is for
'hapressure replay'. The daemon may run beside it; its own recordings are in /var/lib/hapressure/recordings.

If the target does not run, that is an error; with --wait the recording begins when it does. If FILE cannot be written, the command ends.

Exit codes: 0 ended by a signal, 1 failed, 2 wrong usage.`,
		Example: "  hapressure record -o storm.jsonl --target haproxy.service\n  hapressure record -o storm.jsonl --target system.slice/haproxy.service --wait",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, _, err := loadPolicy(files...)
			if err != nil {
				return err
			}
			if target != "" {
				if own := p.For(target); own != nil {
					p = own
				}
				p.Targets = []policy.Target{targetOf(target)}
			}
			if len(p.Targets) != 1 || strings.ContainsAny(p.Targets[0].Unit+p.Targets[0].Cgroup, "*?[") {
				return usageError{errors.New("a recording is of one target, the policy has several: choose one with --target")}
			}
			if out == "" {
				return errNoOutput
			}
			config, err := configOf(p, quiet{})
			if err != nil {
				return err
			}
			config.DryRun = true
			if err := mustRun(cmd, config, wait); err != nil {
				return err
			}
			w, err := create(cmd, out)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			err = recordTo(ctx, w, config)
			if err = cmp.Or(err, w.Close()); err != nil {
				err = fmt.Errorf("recording: %w", err)
			}
			return err
		},
	}
	policyFlag(cmd, &files)
	cmd.Flags().StringVar(&target, "target", "", "unit, or path of a cgroup, to record instead of the policy's targets")
	cmd.Flags().BoolVar(&wait, "wait", false, "if the target does not run, wait for it")
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write, - for standard output")
	return cmd
}

// mustRun returns an error if the target does not run, or writes that the command waits for it.
func mustRun(cmd *cobra.Command, config controller.Config, wait bool) error {
	var unread notes
	config.Journal = &unread
	if len(controller.New(config).Look(cmd.Context()).Targets) > 0 {
		return nil
	}
	fmt.Fprint(cmd.ErrOrStderr(), unread.text(0))                           // that may be why
	name := config.Policy.Targets[0].Unit + config.Policy.Targets[0].Cgroup // it has one of them
	if !wait {
		return fmt.Errorf("%s does not run: start it, or use --wait to record it from when it runs", name)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Waiting for %s\n", name)
	return nil
}

// targetOf is the target with a name: the path of a cgroup if there is a slash in it, which no unit has in its name.
func targetOf(name string) policy.Target {
	if strings.Contains(name, "/") {
		return policy.Target{Cgroup: name}
	}
	return policy.Target{Unit: name}
}

var errNoOutput = usageError{errors.New("where to write is not said: give -o FILE, - is standard output")}

// create makes a file that a command was told to write.
func create(cmd *cobra.Command, name string) (io.WriteCloser, error) {
	if name == "" {
		return nil, errNoOutput
	}
	if name == "-" {
		return nopCloser{cmd.OutOrStdout()}, nil
	}
	return os.Create(name) // the error names the file and what was done
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// recordTo records on w until ctx ends. The error is that of a write, after which it ends.
func recordTo(ctx context.Context, w io.Writer, config controller.Config) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failed := make(chan error, 1)
	to := nopCloser{watchedWriter{w, func(err error) {
		select {
		case failed <- err:
			cancel(err)
		default: // an earlier write has failed
		}
	}}}
	config.Record, config.RecordSize = func(string) io.WriteCloser { return to }, math.MaxInt64
	controller.New(config).Run(ctx)
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// watchedWriter calls failed with the error of each write.
type watchedWriter struct {
	io.Writer
	failed func(error)
}

func (w watchedWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if err != nil {
		w.failed(err)
	}
	return n, err
}

// quiet tells on standard error what concerns the recording: the target, missing sensors and failures to write. What would have been done is in it.
type quiet struct{}

func (quiet) Send(e systemd.Entry) error {
	switch e.MessageID {
	case controller.TargetFound.ID(), controller.TargetLost.ID(), controller.SensorMissing.ID(), controller.StorageFailed.ID():
		fmt.Fprintln(os.Stderr, e.Message)
	}
	return nil
}
