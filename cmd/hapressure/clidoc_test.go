package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hapressure/tests/golden"
)

const cliDoc = "../../docs/cli.md"

// TestCLIDocIsCurrent makes docs/cli.md of the commands' help with -update, and otherwise
// compares it.
func TestCLIDocIsCurrent(t *testing.T) {
	for _, variable := range []string{"STATE_DIRECTORY", "RUNTIME_DIRECTORY"} {
		t.Setenv(variable, "") // defaults of flags depend on them
	}
	var b strings.Builder
	b.WriteString("# Commands\n\nThis page describes every command and its flags. It is made of " +
		"the help texts.\n")
	describeCommand(&b, rootCommand())
	golden.Check(t, cliDoc, b.String())
}

func describeCommand(b *strings.Builder, cmd *cobra.Command) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n```\n%s\n```\n", cmd.CommandPath(), text, cmd.UseLine())
	if flags := flagTable(cmd.NonInheritedFlags()); flags != "" {
		b.WriteString("\n| flag | meaning |\n|---|---|\n" + flags)
	}
	if cmd.Example != "" {
		fmt.Fprintf(b, "\nExamples:\n\n%s\n", "  "+strings.ReplaceAll(cmd.Example, "\n", "\n  "))
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			describeCommand(b, sub)
		}
	}
}

// flagTable returns a row of Markdown for each flag that help shows.
func flagTable(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := strings.TrimSpace("--" + f.Name + " " + value)
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if d := f.DefValue; d != "" && d != "[]" && d != "0" && d != "false" {
			usage += " (default `" + d + "`)"
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, usage)
	})
	return b.String()
}
