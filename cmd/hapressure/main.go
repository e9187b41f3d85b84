// Command hapressure keeps HAProxy hosts out of memory trouble.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "devel"

// Exit codes.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		leaveHugePages()
	}
	cmd, err := rootCommand().ExecuteContextC(context.Background())
	if err == nil {
		return
	}
	if errors.Is(err, errNoDaemon) || errors.Is(err, errProblem) {
		os.Exit(exitRefused) // it was said in what was printed
	}
	fmt.Fprintf(os.Stderr, "hapressure: %s\n", wrap(err.Error(), 0, 0))
	if _, ok := err.(usageError); ok {
		fmt.Fprintf(os.Stderr, "See '%s --help'.\n", cmd.CommandPath())
		os.Exit(exitUsage)
	}
	if errors.Is(err, errRefused) {
		os.Exit(exitRefused)
	}
	os.Exit(exitFailed)
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
