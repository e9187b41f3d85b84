package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is a mistake on the command line.
type usageError struct{ error }

// usage makes the errors of a check of arguments mistakes of usage.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// errEmpty is the error of an argument that an unset variable of a script leaves.
var errEmpty = errors.New("an argument is empty: leave it out, or give a value")

// noArguments is the check of a command that takes no arguments. An argument is a
// mistyped subcommand, or the value of a flag whose name is missing.
func noArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case args[0] == "":
		return errEmpty
	case cmd.HasAvailableSubCommands():
		return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(),
			didYouMean(cmd.SuggestionsFor(args[0])))
	}
	return fmt.Errorf("%s takes no arguments, and %q is one%s", cmd.CommandPath(), args[0],
		didYouMean(flagsFor(cmd, args[0])))
}

// oneArgument is the check of a command that takes one argument of a name.
func oneArgument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("%s takes one %s, and %q is another", cmd.CommandPath(), name,
				args[1])
		}
		return someArguments(name)(cmd, args)
	}
}

// someArguments is the check of a command that takes one or more arguments of a name.
func someArguments(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s needs a %s", cmd.CommandPath(), name)
		}
		return nil
	}
}

// flagsFor returns the flags of a command that an argument may be the value of.
func flagsFor(cmd *cobra.Command, arg string) (found []string) {
	names := []string{"unit", "target", "output"}
	if _, err := strconv.Atoi(arg); err == nil {
		names = []string{"pid", "lines", "recordings-size", "reloads"}
	}
	for _, name := range names {
		if cmd.Flags().Lookup(name) != nil {
			found = append(found, "--"+name+" "+arg)
		}
	}
	return found
}

// oneOf returns the error of a flag whose value is none of those known.
func oneOf(flag, value string, known []string) error {
	if slices.Contains(known, value) {
		return nil
	}
	return usageError{fmt.Errorf("--%s %q is none of %s%s", flag, value,
		strings.Join(known, ", "), didYouMean(near(value, known)))}
}

// typos is how many letters a word may differ from one that is suggested for it.
const typos = 2

// near returns the known words that resemble one, as cobra finds them among commands.
func near(word string, known []string) []string {
	all := cobra.Command{SuggestionsMinimumDistance: typos}
	for _, name := range known {
		all.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	return all.SuggestionsFor(word)
}

func didYouMean(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(words, " or ") + "?"
}

// flagValues describes the values of flags by their types.
var flagValues = map[string]string{
	"int": "a whole number", "uint": "a whole number from 0",
	"float64": "a number", "bool": "true or false",
	"duration": "a time with a unit, such as 30s or 5m",
}

// flagError words a mistake in a flag. pflag's own texts name functions of package
// strconv.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	switch {
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		problem := "is not " + flagValues[f.Value.Type()]
		if errors.Is(err, strconv.ErrRange) {
			problem = "is too large or too small"
		}
		err = fmt.Errorf("--%s %q %s", f.Name, invalid.GetValue(), problem)
	case errors.As(err, &unknown):
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				known = append(known, f.Name)
			}
		})
		typed := unknown.GetSpecifiedShortnames()
		name := "-" + typed // such as -pid, which is read as -p -i -d
		if typed == "" {
			typed = unknown.GetSpecifiedName()
			name = "--" + typed
		}
		found := near(typed, known)
		for i := range found {
			found[i] = "--" + found[i]
		}
		err = fmt.Errorf("%s has no flag %s%s", cmd.CommandPath(), name, didYouMean(found))
	case errors.As(err, &empty):
		_, what := pflag.UnquoteUsage(empty.GetFlag())
		err = fmt.Errorf("--%s needs a value: %s", empty.GetFlag().Name, what)
	}
	return usageError{err}
}
