package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/progress"
	"hapressure/input"
	"hapressure/policy/record"
	"hapressure/policy/simulate"
)

// scenarioLimit bounds a scenario, in bytes. Those in packaging/scenarios have hundreds.
const scenarioLimit = 1 << 20

func simulateCommand() *cobra.Command {
	var files []string
	var out string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "simulate SCENARIO -o FILE",
		Short: "Try a policy on a model of a machine",
		Long: `Simulate a unit's memory from a scenario, with a policy whose actions take effect
in the model, and write a recording to FILE for 'hapressure replay'. A SCENARIO named - is
standard input.

The model is simple: it shows what a policy does, not how a machine behaves. The same scenario
always gives the same recording.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: "  hapressure simulate storm.yaml -o storm.rec && hapressure replay storm.rec " +
			"--html storm.html",
		Args: usage(oneArgument("SCENARIO")),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, _, err := policyfiles.Load(files...)
			if err != nil {
				return err
			}
			f, err := input.OpenOrStdin(args[0], scenarioLimit)
			if err != nil {
				return err
			}
			defer f.Close()
			s, err := simulate.Decode(args[0], f)
			if err != nil {
				return fmt.Errorf("the scenario has mistakes:\n%w", err)
			}
			to, err := create(cmd, out)
			if err != nil {
				return err
			}
			w, err := record.NewWriter(to, record.Begin{Target: filepath.Base(args[0]),
				Wall: time.Unix(0, 0).UTC(), Policy: p.Source})
			run := simulate.Run
			if dryRun {
				run = simulate.DryRun
			}
			line := progress.Interruptible(cmd.ErrOrStderr(), "simulating "+args[0])
			line.Writes(out)
			var result simulate.Result
			if err == nil {
				result, err = run(s, p, func(e record.Event) error {
					if e.Tick != nil {
						line.Doing("simulating %s, %s of %s", args[0],
							e.Tick.Now.Truncate(time.Second), s.Duration)
					}
					return w.Write(e)
				})
			}
			line.End()
			if err := errors.Join(err, w.Close(), to.Close()); err != nil {
				return fmt.Errorf("writing %s: %w", out, err)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), result)
			return nil
		},
	}
	policyFlag(cmd, &files)
	cmd.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write, - for standard output")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "let the policy decide, but execute no action")
	return cmd
}
