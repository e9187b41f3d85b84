package main

import (
	"github.com/spf13/cobra"
)

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "hapressure",
		Short: "Keep HAProxy hosts out of memory trouble",
		Long: `hapressure watches the memory of HAProxy's systemd unit or cgroup. When memory
runs short, it frees what stopping workers still hold after a reload: first their TLS session
caches, in place and without closing a connection; then the memory of their longest connections;
finally the oldest worker as a whole. It never changes a current worker.`,
		Args:    usage(noArguments),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version: version,
		// Runs before every command.
		PersistentPreRunE: refuseEmpty,
		SilenceErrors:     true,
		SilenceUsage:      true,
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(runCommand(), reloadCommand(), workersCommand(), purgeCommand(),
		makeRoomCommand(), modeCommand(), pauseCommand(), resumeCommand(),
		statusCommand(),
		topCommand(), eventsCommand(), doctorCommand(), metricsCommand(), policyCommand(),
		recordCommand(),
		replayCommand(), simulateCommand(), versionCommand())
	addCompletions(root)
	addHelp(root)
	return root
}
