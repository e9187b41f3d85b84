package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/daemon"
	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/inspect"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/control"
	"hapressure/controller/status"
)

// addCompletions lets the shell complete the values of flags. Targets, tiers and workers
// are those that run.
func addCompletions(cmd *cobra.Command) {
	words := func(list ...cobra.Completion) cobra.CompletionFunc {
		return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
	}
	tiers := func(t status.Target) []cobra.Completion { return t.Tiers }
	for flag, complete := range map[string]cobra.CompletionFunc{
		"color": words(render.Colors...),
		"tier":  ofRunning(tiers), "pid": ofRunning(workers),
		"unit": ofRunning(units), "cgroup": ofRunning(cgroups), "target": ofRunning(targets),
		"action": words(eventFilters["action"]...), "result": words(eventFilters["result"]...),
		"log-format": words(daemon.LogFormats...),
	} {
		if cmd.Flags().Lookup(flag) != nil {
			if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
				panic(err) // the flag is registered twice
			}
		}
	}
	// If it takes no argument, the shell must not offer files.
	if cmd.ValidArgsFunction == nil && cmd.ValidateArgs([]string{"FILE"}) != nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, sub := range cmd.Commands() {
		addCompletions(sub)
	}
}

// ofRunning completes with words of the targets that run, as the daemon or, for root, an
// inspection of this host finds them within a second.
func ofRunning(of func(status.Target) []cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) (found []cobra.Completion,
		_ cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		socket := control.Socket
		if f := cmd.Flags().Lookup("socket"); f != nil {
			socket = f.Value.String()
		}
		in := inspect.Inspector{Socket: socket, Journal: &host.Notes{}}
		s, _ := in.Status(ctx) // a completion cannot print an error
		for _, t := range s.Targets {
			found = append(found, of(t)...)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func targets(t status.Target) []cobra.Completion { return []cobra.Completion{t.Name} }

// units are targets that are no paths of cgroups.
func units(t status.Target) []cobra.Completion {
	if strings.HasPrefix(t.Name, "/") {
		return nil
	}
	return targets(t)
}

func cgroups(t status.Target) []cobra.Completion { return []cobra.Completion{t.Cgroup} }

func workers(t status.Target) (found []cobra.Completion) {
	for _, m := range t.Masters {
		for _, w := range m.Workers {
			what := fmt.Sprintf("%s, generation %d of %s", w.State, w.Generation, t.Name)
			found = append(found, cobra.CompletionWithDesc(strconv.Itoa(w.PID), what))
		}
	}
	return found
}
