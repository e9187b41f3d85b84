package main

import "github.com/spf13/cobra"

// addHelp adds cobra's commands help and completion, and has them refuse what they do not
// know: cobra's own print a help text and exit with 0. Of mistyped commands it has cobra
// suggest others.
func addHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SuggestionsMinimumDistance = typos
	for _, cmd := range root.Commands() {
		cmd.SuggestionsMinimumDistance = typos
		switch cmd.Name() {
		case "help":
			cmd.Short = "Print the help of a command"
			cmd.Long = "Print the help of a command, as its flag --help does."
			cmd.Args = usage(aCommand)
		case "completion":
			describeCompletion(cmd)
		}
	}
}

func describeCompletion(cmd *cobra.Command) {
	cmd.Args, cmd.RunE = usage(noArguments), printHelp
	cmd.Short = "Print a script that lets a shell complete commands, flags and their values"
	cmd.Long = cmd.Short + ". The packages install\nthose of bash, fish and zsh."
	for _, shell := range cmd.Commands() {
		shell.Args = usage(noArguments)
		shell.Short = "Print the script for " + shell.Name()
		shell.Long = shell.Short + "."
	}
}

// aCommand is the check of arguments that name a command.
func aCommand(cmd *cobra.Command, args []string) error {
	found, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) == 0 {
		return err
	}
	return noArguments(found, rest)
}

// printHelp runs a command that only has subcommands.
func printHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }
