package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/trials"
	"hapressure/policy/schema"
)

// errUntestable is wrapped by the error for files that could not be tested as a whole.
var errUntestable = errors.New("these mistakes keep tests from running")

func policyTestCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Test a policy in scenarios and over recordings",
		Long: `Run the tests of each FILE: a policy in simulated scenarios or over recordings, and
what must come of it, such as the tiers by time, the actions, and bounds of failed reloads and of
connections cut. Paths in a FILE are relative to its folder. A FILE named - is standard input.

The figures of each test are printed, and each expectation that is not met: its place, what was
expected (-) and what happened (+). A simulation is a model: it compares policies and does not
predict a host.

A FILE may have 64 KiB and 100 tests. A simulation takes half a minute at most.

Exit codes: 0 all tests passed; 1 a test failed; 2 wrong usage, or a FILE or a file that it names
has mistakes or cannot be read.`,
		Example: "  hapressure policy test /usr/share/hapressure/policies/tests/*.yaml",
		Args:    usage(someArguments("FILE")),
		RunE: func(cmd *cobra.Command, files []string) error {
			out := cmd.OutOrStdout()
			reports := make([]*trials.Report, len(files))
			for i, file := range files {
				reports[i] = trials.Run(file, cmd.ErrOrStderr())
				if !asJSON {
					trials.Print(out, reports[i])
				}
			}
			if asJSON {
				if err := writeJSON(out, reports); err != nil {
					return fmt.Errorf("writing the results: %w", err)
				}
			}
			passed, err := sumUp(reports)
			if err == nil && !asJSON {
				_, err = io.WriteString(out, passed+"\n")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false,
		"print the results as a JSON array, with an object for each FILE")
	return cmd
}

// sumUp sums up the reports: in a sentence if all tests passed.
func sumUp(reports []*trials.Report) (passed string, err error) {
	tests, failed := 0, 0
	var mistakes schema.Errors
	for _, r := range reports {
		mistakes = append(mistakes, r.Mistakes...)
		tests += len(r.Tests)
		failed += r.Failed()
	}
	switch {
	case len(mistakes) > 0:
		return "", fmt.Errorf("%w:\n%w", errUntestable, mistakes)
	case failed > 0:
		return "", fmt.Errorf("tests failed: %d of %d", failed, tests)
	}
	return fmt.Sprintf("tests passed: %d of %d", tests, tests), nil
}
