package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// emptyAllowed marks flags whose empty value has a meaning.
const emptyAllowed = "hapressure_empty_allowed"

// allowEmpty lets a flag be given with an empty value.
func allowEmpty(cmd *cobra.Command, flag string) {
	if err := cmd.Flags().SetAnnotation(flag, emptyAllowed, nil); err != nil {
		panic(err) // there is no such flag
	}
}

// refuseEmpty refuses empty flags and arguments, which an unset variable of a script
// leaves. They would count as missing, and a missing flag mostly means everything.
func refuseEmpty(cmd *cobra.Command, args []string) error {
	if cmd.DisableFlagParsing { // a completion: the arguments are those of another command
		return nil
	}
	if slices.Contains(args, "") {
		return usageError{errEmpty}
	}
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if _, ok := f.Annotations[emptyAllowed]; !ok && isEmpty(f.Value) {
			err = usageError{fmt.Errorf("--%s is empty: leave it out, or give a value", f.Name)}
		}
	})
	return err
}

func isEmpty(v pflag.Value) bool {
	if list, ok := v.(pflag.SliceValue); ok {
		return slices.Contains(list.GetSlice(), "")
	}
	return v.String() == ""
}
