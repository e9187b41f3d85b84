package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/daemon"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/control"
	"hapressure/controller/status"
)

// addCompletions lets the shell complete the values of flags. Targets, tiers and workers
// are those of the daemon.
func addCompletions(cmd *cobra.Command) {
	words := func(list ...cobra.Completion) cobra.CompletionFunc {
		return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
	}
	tiers := func(t status.Target) []cobra.Completion { return t.Tiers }
	for flag, complete := range map[string]cobra.CompletionFunc{
		"unit": fromDaemon(targets), "target": fromDaemon(targets), "pid": fromDaemon(workers),
		"cgroup": fromDaemon(targets), "tier": fromDaemon(tiers),
		"color":  words(render.Colors...),
		"action": words(eventFilters["action"]...), "result": words(eventFilters["result"]...),
		"log-format": words(daemon.LogFormats...),
	} {
		if cmd.Flags().Lookup(flag) != nil {
			if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
				panic(err) // the flag is registered twice
			}
		}
	}
	for _, sub := range cmd.Commands() {
		addCompletions(sub)
	}
}

// fromDaemon completes with words of the daemon's targets, with none if it does not
// answer in time.
func fromDaemon(of func(status.Target) []cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) (found []cobra.Completion,
		_ cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		socket := control.Socket
		if f := cmd.Flags().Lookup("socket"); f != nil {
			socket = f.Value.String()
		}
		s, _ := control.NewClient(socket).Status(ctx) // a completion cannot print an error
		for _, t := range s.Targets {
			found = append(found, of(t)...)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func targets(t status.Target) []cobra.Completion { return []cobra.Completion{t.Name} }

func workers(t status.Target) (found []cobra.Completion) {
	for _, m := range t.Masters {
		for _, w := range m.Workers {
			what := fmt.Sprintf("%s, generation %d of %s", w.State, w.Generation, t.Name)
			found = append(found, cobra.CompletionWithDesc(strconv.Itoa(w.PID), what))
		}
	}
	return found
}
