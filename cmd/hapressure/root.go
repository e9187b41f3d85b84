package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// emptyAllowed marks flags whose empty value has a meaning of its own.
const emptyAllowed = "hapressure_empty_allowed"

// allowEmpty lets a flag be given with an empty value.
func allowEmpty(cmd *cobra.Command, flag string) {
	if err := cmd.Flags().SetAnnotation(flag, emptyAllowed, nil); err != nil {
		panic(err) // there is no such flag
	}
}

// refuseEmpty refuses flags and arguments that are given and empty, as by a variable of a script that is not set. They
// would count as not given, which mostly means everything there is.
func refuseEmpty(cmd *cobra.Command, args []string) error {
	if cmd.DisableFlagParsing { // a shell asks for completions, and its arguments are another command's
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
		Long: `hapressure watches the memory of HAProxy's systemd unit or cgroup and, when it runs short, frees what workers that were
replaced by a reload still hold: first their TLS session caches, in place and with no connection lost; then their longest
connections; at last the oldest worker as a whole. The worker that serves is never touched.`,
		Args:    usage(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version: version,
		// Runs before each command, whichever it is.
		PersistentPreRunE: refuseEmpty,
		SilenceErrors:     true,
		SilenceUsage:      true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(runCommand(), reloadCommand(), workersCommand(), purgeCommand(), statusCommand(), topCommand(), eventsCommand(),
		doctorCommand(), metricsCommand(), policyCommand(), recordCommand(), replayCommand(), simulateCommand())
	addCompletions(root)
	return root
}

// errRefused says that what was asked for would not have been right to do.
var errRefused = errors.New("refused")

// usageError is a mistake on the command line.
type usageError struct{ error }

// usage gives what cobra has to say of arguments our exit code.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
