package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/spf13/cobra"

	"hapressure/controller/control"
)

func metricsCommand() *cobra.Command {
	var socket, file string
	cmd := &cobra.Command{
		Use:   "metrics",
		Short: "Print the daemon's metrics, or write them for node_exporter's textfile collector",
		Long: `Print the daemon's metrics in the text format of Prometheus. They are documented in docs/metrics.md, as is how to have the daemon scraped
without this command.

With --output the file is replaced at once, so that whoever reads it never sees half of it.`,
		Example: "  hapressure metrics\n  hapressure metrics --output /var/lib/prometheus/node-exporter/hapressure.prom",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			families, err := control.NewClient(socket).Metrics(cmd.Context())
			if errors.Is(err, control.ErrNoDaemon) {
				return fmt.Errorf("%w: start it with 'systemctl start hapressure'", err)
			}
			if err != nil {
				return err
			}
			var all []*dto.MetricFamily
			for _, name := range slices.Sorted(maps.Keys(families)) {
				all = append(all, families[name])
			}
			if file != "" {
				// To replace a device or a link, such as /dev/stdout, would destroy it.
				if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
					return fmt.Errorf("%s is not a regular file, and is not replaced: without --output the metrics go to standard output", file)
				}
				return prometheus.WriteToTextfile(file, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return all, nil }))
			}
			for _, family := range all {
				if _, err := expfmt.MetricFamilyToText(cmd.OutOrStdout(), family); err != nil {
					return err
				}
			}
			return nil
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to `FILE`")
	return cmd
}
