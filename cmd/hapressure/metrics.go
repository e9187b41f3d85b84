package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/controller/control"
)

func metricsCommand() *cobra.Command {
	var socket, file string
	cmd := &cobra.Command{
		Use:   "metrics",
		Short: "Print the daemon's metrics, or write them for node_exporter's textfile collector",
		Long: `Print the daemon's metrics in the text format of Prometheus. docs/metrics.md
describes them, and how Prometheus scrapes the daemon without this command.

With --output the file is replaced in one step, so that no reader finds half of it.

Exit codes: 0 printed or written, 1 failed, 2 wrong usage.`,
		Example: "  hapressure metrics\n" +
			"  hapressure metrics --output /var/lib/prometheus/node-exporter/hapressure.prom",
		Args: usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := control.NewClient(socket).Metrics(cmd.Context())
			if err == nil && file == "" {
				_, err = cmd.OutOrStdout().Write(text)
			}
			if err != nil || file == "" {
				return err
			}
			// To replace a device or a link, such as /dev/stdout, would destroy it.
			if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
				return fmt.Errorf("%s is not a regular file and is not replaced: "+
					"without --output the metrics go to standard output", file)
			}
			return host.ReplaceFile(file, text, 0o644)
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to `FILE`")
	return cmd
}
