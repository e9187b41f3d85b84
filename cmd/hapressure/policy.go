package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy", Short: "Work with policy files", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "check FILE",
		Short: "Check a policy file and tell every mistake with its place",
		Long: `Check a policy file. Every mistake is told as FILE:LINE:COLUMN with what would be right.

Exit codes: 0 the file is good, 1 it has mistakes or cannot be read, 2 wrong usage.`,
		Example: "  hapressure policy check /etc/hapressure/policy.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return usageError{cmd, err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			p, _, err := loadPolicy(args[0], true)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is good: %d targets, %d tiers\n", args[0], len(p.Targets), len(p.Tiers))
			return nil
		},
	})
	return cmd
}
