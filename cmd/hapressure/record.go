package main

import (
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
		c.Daemon.Recordings = &controller.RecordingsStatus{Dir: dir, BytesPerTarget: c.Recordings.PerTarget}
	}
}

func recordCommand() *cobra.Command {
	var files []string
	var target, out string
	cmd := &cobra.Command{
		Use:   "record -o FILE",
		Short: "Record a target without touching it",
		Long: `Sense and decide as the daemon does, touch no worker, and write all of it into FILE until SIGINT or SIGTERM. The recording is for
'hapressure replay'. The daemon may run beside it; its own recordings are in /var/lib/hapressure/recordings.`,
		Example: "  hapressure record -o storm.jsonl --target haproxy.service",
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
				p.Targets = []policy.Target{{Unit: target}}
				if strings.HasPrefix(target, "/") {
					p.Targets = []policy.Target{{Cgroup: target}}
				}
			}
			if len(p.Targets) != 1 || strings.ContainsAny(p.Targets[0].Unit+p.Targets[0].Cgroup, "*?[") {
				return usageError{errors.New("a recording is of one target, the policy has several: choose one with --target")}
			}
			w, err := create(cmd, out)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			err = recordTo(ctx, w, p)
			if cerr := w.Close(); err == nil && cerr != nil {
				err = fmt.Errorf("writing %s: %w", out, cerr)
			}
			return err
		},
	}
	policyFlag(cmd, &files)
	cmd.Flags().StringVar(&target, "target", "", "unit, or cgroup with a leading /, to record instead of the policy's targets")
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write, - for standard output")
	return cmd
}

// create makes a file that a command was told to write.
func create(cmd *cobra.Command, name string) (io.WriteCloser, error) {
	if name == "" {
		return nil, usageError{errors.New("where to write is not said: give -o FILE, - is standard output")}
	}
	if name == "-" {
		return nopCloser{cmd.OutOrStdout()}, nil
	}
	return os.Create(name) // the error names the file and what was done
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func recordTo(ctx context.Context, w io.Writer, p *policy.Policy) error {
	config, err := configOf(p, quiet{})
	if err != nil {
		return err
	}
	config.DryRun = true
	config.Record, config.RecordSize = func(string) io.WriteCloser { return nopCloser{w} }, math.MaxInt64
	controller.New(config).Run(ctx)
	return nil
}

// quiet tells on standard error what concerns the recording: the target, missing sensors and failures to write. What would have been done is in it.
type quiet struct{}

func (quiet) Send(e systemd.Entry) error {
	switch e.MessageID {
	case systemd.TargetFound, systemd.TargetLost, systemd.SensorMissing, systemd.StorageFailed:
		fmt.Fprintln(os.Stderr, e.Message)
	}
	return nil
}
