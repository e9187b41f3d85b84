// Command hapressure keeps HAProxy hosts out of memory trouble.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/daemon"
	"hapressure/cmd/hapressure/internal/doctor"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/control"
)

// Exit codes.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
	exitNoRoom  = 4
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		daemon.LeaveHugePages()
	}
	os.Exit(execute(rootCommand()))
}

// execute runs the command of the arguments and returns its exit code.
func execute(root *cobra.Command) int {
	cmd, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return 0
	}
	switch {
	case errors.Is(err, errNoDaemon), errors.Is(err, doctor.ErrProblem):
		return exitRefused // the output says why
	case errors.Is(err, daemon.ErrLogged):
		return exitFailed
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	stderr := root.ErrOrStderr()
	fmt.Fprintf(stderr, "hapressure: %s\n", render.Wrap(err.Error(), 0, 0))
	var mistake usageError
	switch {
	case errors.As(err, &mistake):
		fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	case errors.Is(err, errRefused), errors.Is(err, daemon.ErrRefused):
		return exitRefused
	case errors.Is(err, errNoRoom):
		return exitNoRoom
	case errors.Is(err, control.ErrNoDaemon):
		fmt.Fprintln(stderr, "Start it with 'systemctl start hapressure'.")
	case errors.Is(err, errUntestable):
		return exitUsage
	}
	return exitFailed
}
