package main

import (
	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/haproxy"
)

func workersCommand() *cobra.Command {
	var instances *selector.Selector
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "workers",
		Short: "List HAProxy's workers, what they hold, and which are stopping",
		Long: `List the masters of this host with their workers, the oldest generation first. It only looks: nothing is changed.

STATE is current, stopping, or unknown where it is not proven; PROOF says what it rests on. CACHE is what the TLS session cache
of a stopping worker holds, SHARED all its shared memory, PRIVATE its other memory: measured, and not as RSS tells, which leaves
the cache out up to HAProxy 3.0. HARD STOP is when HAProxy's own hard-stop-after would end the worker, by what the
configuration files say now.

Exit codes: 0 listed, 1 failed, 2 wrong usage.`,
		Example: "  hapressure workers\n  hapressure workers --unit haproxy --json",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := haproxy.NewScanner(host.Procfs)
			found, _, err := instances.Find(cmd.Context(), s)
			if err != nil {
				return err
			}
			masters := controller.DescribeMasters(cmd.Context(), host.Procfs, found, nil)
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"masters": masters})
			}
			return render.Workers(cmd.OutOrStdout(), masters)
		},
	}
	instances = instanceFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
