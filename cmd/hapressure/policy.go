package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/policy"
	"hapressure/policy/language"
)

func policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy", Short: "Work with policy files", Args: usage(noArguments),
		SuggestFor: []string{"check", "validate"},
		Long: `Work with policy files. Several files are one policy: all but the first are
drop-ins, merged in this order. Without a file the policy is that of this host: ` + policyfiles.SystemFile + ` or the built-in policy, with the
drop-ins in ` + policyfiles.DropIns[0] + `, ` + policyfiles.DropIns[1] + ` and
` + policyfiles.DropIns[2] + `.

A FILE named - is standard input. Policies are read from regular files only, of 1 MiB at most together.`,
		RunE: printHelp,
	}
	var asJSON bool
	check := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Check a policy and print each mistake with its position",
		Long: `Check a policy. Each mistake is printed as FILE:LINE:COLUMN with what would be
correct. 'hapressure policy --help' describes FILE.

Exit codes: 0 the policy is good, 1 it has mistakes or cannot be read, 2 wrong usage.`,
		Example: "  hapressure policy check /etc/hapressure/policy.yaml",
		RunE: func(cmd *cobra.Command, names []string) error {
			return check(cmd.OutOrStdout(),
				names, asJSON)
		},
	}
	check.Flags().BoolVar(&asJSON, "json", false,
		"print the mistakes as a JSON array of file, line, column and problem, empty for a good "+
			"policy")
	cmd.AddCommand(check, &cobra.Command{
		Use:   "show [FILE...]",
		Short: "Print the merged policy, with the origin of each value",
		Long: `Print the policy as one file: drop-ins are merged, defaults are written out, and
the file and line of each value stand beside it.`,
		RunE: printing(func(p *policy.Policy) string { return p.Source }),
	}, &cobra.Command{
		Use:   "explain [FILE...]",
		Short: "Describe in words what a policy does",
		RunE:  printing(language.Explain),
	}, policyTestCommand(), &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of policy files, for editors",
		Args:  usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(language.Schema)
			return err
		},
	})
	return cmd
}

// printing makes a command that prints the policy of its arguments by how.
func printing(how func(*policy.Policy) string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, names []string) error {
		p, _, err := policyfiles.Load(names...)
		if err == nil {
			_, err = io.WriteString(cmd.OutOrStdout(), how(p))
		}
		return err
	}
}

func check(out io.Writer, names []string, asJSON bool) error {
	p, files, err := policyfiles.Load(names...)
	mistakes := language.Errors{} // in JSON an empty array
	switch {
	case asJSON && (err == nil || errors.As(err, &mistakes)):
		if werr := json.NewEncoder(out).Encode(mistakes); werr != nil {
			return fmt.Errorf("writing the mistakes: %w", werr)
		}
	case err == nil:
		fmt.Fprintf(out, "%s is good: %s, %s\n", policyfiles.Origin(files),
			policy.Count(len(p.Targets), "target"), policy.Count(len(p.Tiers), "tier"))
	}
	return err
}
