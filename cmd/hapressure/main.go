// Command hapressure keeps HAProxy hosts out of memory trouble.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"hapressure/cmd/hapressure/internal/daemon"
	"hapressure/cmd/hapressure/internal/doctor"
	"hapressure/cmd/hapressure/internal/render"
)

// version is set by the linker.
var version = "devel"

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
	cmd, err := rootCommand().ExecuteContextC(context.Background())
	if err == nil {
		return
	}
	if errors.Is(err, errNoDaemon) || errors.Is(err, doctor.ErrProblem) {
		os.Exit(exitRefused) // the output says why
	}
	fmt.Fprintf(os.Stderr, "hapressure: %s\n", render.Wrap(err.Error(), 0, 0))
	if _, ok := err.(usageError); ok {
		fmt.Fprintf(os.Stderr, "See '%s --help'.\n", cmd.CommandPath())
		os.Exit(exitUsage)
	}
	if errors.Is(err, errRefused) || errors.Is(err, daemon.ErrRefused) {
		os.Exit(exitRefused)
	}
	if errors.Is(err, errNoRoom) {
		os.Exit(exitNoRoom)
	}
	os.Exit(exitFailed)
}
