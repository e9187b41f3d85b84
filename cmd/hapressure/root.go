package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// emptyAllowed marks flags whose empty value has a meaning.
const emptyAllowed = "hapressure_empty_allowed"

// allowEmpty lets a flag be given with an empty value.
func allowEmpty(cmd *cobra.Command, flag string) {
	if err := cmd.Flags().SetAnnotation(flag, emptyAllowed, nil); err != nil {
		panic(err) // there is no such flag
	}
}

// refuseEmpty refuses empty flags and arguments, which an unset variable of a script
// leaves. They would count as missing, and a missing flag mostly means everything.
func refuseEmpty(cmd *cobra.Command, args []string) error {
	if cmd.DisableFlagParsing { // a completion: the arguments are those of another command
		return nil
	}
	if slices.Contains(args, "") {
		return usageError{errors.New("an argument is empty: leave it out, or give a value")}
	}
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if _, ok := f.Annotations[emptyAllowed]; !ok && isEmpty(f.Value) {
			err = usageError{fmt.Errorf("--%s is empty: leave it out, or give a value", f.Name)}
		}
	})
	return err
}

func isEmpty(v pflag.Value) bool {
	if list, ok := v.(pflag.SliceValue); ok {
		return slices.Contains(list.GetSlice(), "")
	}
	return v.String() == ""
}

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
		makeRoomCommand(),
		statusCommand(),
		topCommand(), eventsCommand(), doctorCommand(), metricsCommand(), policyCommand(),
		recordCommand(),
		replayCommand(), simulateCommand(), versionCommand())
	addCompletions(root)
	addHelp(root)
	return root
}

// errRefused is the error of a command whose action is not safe.
var errRefused = errors.New("refused")
