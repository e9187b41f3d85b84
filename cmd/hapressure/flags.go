package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/recordings"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller/control"
)

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

var errNoOutput = usageError{errors.New("the output is missing: give -o FILE, - for standard " +
	"output")}

// create opens the output of a command; - is standard output.
func create(cmd *cobra.Command, name string) (io.WriteCloser, error) {
	if name == "" {
		return nil, errNoOutput
	}
	if name == "-" {
		return recordings.NopCloser{Writer: cmd.OutOrStdout()}, nil
	}
	return os.Create(name) // the error names the file and what was done
}

// decimal is the value of a flag that is a whole number. pflag's own read 010 as 8.
type decimal int

func (d *decimal) Set(text string) error {
	n, err := strconv.Atoi(text)
	*d = decimal(n)
	return err
}

func (d *decimal) String() string { return strconv.Itoa(int(*d)) }

// Type is that of pflag's numbers.
func (d *decimal) Type() string { return "int" }

// screenOptions are the flags that say how text is shown.
type screenOptions struct {
	color string
	full  bool
}

func screenFlags(cmd *cobra.Command) *screenOptions {
	var o screenOptions
	cmd.Flags().StringVar(&o.color, "color", "auto",
		"colour text: auto, which is on a terminal unless NO_COLOR is set, always, or never")
	cmd.Flags().BoolVar(&o.full, "full", false,
		"show all on a terminal, whatever its width")
	return &o
}

// of returns the screen that the standard output of a command is.
func (o *screenOptions) of(cmd *cobra.Command) (render.Screen, error) {
	s := render.NewScreen(cmd.OutOrStdout(), o.color)
	if o.full {
		s.Width = 0
	}
	return s, oneOf("color", o.color, render.Colors)
}

func policyFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "policy", "p", nil,
		"policy `FILE` instead of this host's; if repeated, a drop-in")
}

func socketFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "socket", control.Socket, "`PATH` of the daemon's control socket")
}

// errNoDaemon is the error of a status without a daemon, after it was printed.
var errNoDaemon = errors.New("the daemon is not running")

// instanceFlags adds the flags that choose HAProxy instances, and checks them before cmd
// runs: a value that chooses nothing must not choose everything.
func instanceFlags(cmd *cobra.Command) *selector.Selector {
	var s selector.Selector
	var everything bool
	cmd.Flags().StringVarP(&s.Unit, "unit", "u", "", "only HAProxy of this systemd `UNIT`")
	cmd.Flags().Var((*decimal)(&s.PID), "pid",
		"only the worker with this `PID`, or the workers of the master with it")
	cmd.Flags().BoolVar(&everything, "all", false,
		"all HAProxy on this host, as without these flags")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		pid, all := cmd.Flags().Changed("pid"), cmd.Flags().Changed("all")
		switch {
		case pid && s.PID <= 0:
			return usageError{fmt.Errorf("--pid %d is not a process number", s.PID)}
		case all && !everything:
			return usageError{errors.New("--all=false chooses nothing: give --unit, --pid or " +
				"--all")}
		case s.Unit != "" && pid, all && (s.Unit != "" || pid):
			return usageError{errors.New("give only one of --unit, --pid and --all")}
		}
		return nil
	}
	return &s
}
