package main

import (
	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/progress"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/controller/status"
	"hapressure/haproxy"
)

func workersCommand() *cobra.Command {
	var instances *selector.Selector
	var detail, asJSON bool
	var screen *screenOptions
	cmd := &cobra.Command{
		Use:        "workers",
		SuggestFor: []string{"list", "ls", "ps"},
		Short:      "List HAProxy's workers, what they hold, and which are stopping",
		Long: `List the HAProxies of this host with their workers, the oldest generation first:
masters, and HAProxies without a master, whose processes reloads by -sf have started.
Processes that resemble HAProxy and are left out follow, with the reason. Nothing is changed.

STATE is current or stopping if that is proven, and otherwise unknown; PROOF is the evidence.
CACHE is what the TLS session cache of a stopping worker holds, SHARED is all its shared memory
and PRIVATE its other memory. They are measured: RSS lacks the cache up to HAProxy 3.0. HARD
STOP is the time until HAProxy's own hard-stop-after terminates the worker, according to the
present configuration files.

--detail examines stopping workers further: HTTP caches, memory in transparent huge pages,
HAProxy's memory pools, and what the configuration holds: entries of maps and ACLs,
certificates, servers. The kernel walks the page tables of each, and each that has a master is
asked six questions, which takes it milliseconds.

Exit codes: 0 listed, 1 failed, 2 wrong usage.`,
		Example: "  hapressure workers\n  hapressure workers --detail\n  hapressure workers " +
			"--unit haproxy --json",
		Args: usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			on, err := screen.of(cmd)
			if err != nil {
				return err
			}
			line := progress.Interruptible(cmd.ErrOrStderr(), "finding HAProxy")
			s := haproxy.NewScanner(host.Procfs)
			found, _, err := instances.Find(cmd.Context(), s)
			if err != nil {
				line.End()
				return err
			}
			line.Doing("asking workers, each for 2s at most")
			masters := controller.DescribeMasters(cmd.Context(), host.Procfs, found, nil)
			if detail {
				controller.AddDetail(cmd.Context(), masters, found, func(done, of int) {
					line.Doing("asking stopping workers, %d of %d answered", done, of)
				})
			}
			line.End()
			leftOut := []status.LeftOut{}
			if instances.PID == 0 {
				leftOut = controller.DescribeLeftOut(s.LeftOut())
			}
			held := controller.HeldByStopping(masters)
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), status.Workers{
					Masters: masters, LeftOut: leftOut, Stopping: held,
				})
			}
			return render.Workers(cmd.OutOrStdout(), on, masters, leftOut, held)
		},
	}
	instances = instanceFlags(cmd)
	screen = screenFlags(cmd)
	cmd.Flags().BoolVar(&detail, "detail", false, "ask stopping workers what makes up their memory")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
