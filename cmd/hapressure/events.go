package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/journalctl"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/policy"
	"hapressure/systemd"
)

// eventFilters are the flags named like a field, with the values of that field; nil =
// any.
var eventFilters = map[string][]string{
	"target": nil, "tier": nil, "action": policy.Kinds,
	"result": {"done", "refused", "failed", "skipped"},
}

func eventsCommand() *cobra.Command {
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:        "events",
		SuggestFor: []string{"log", "logs", "journal"},
		Short:      "Show what hapressure observed and did, from the journal",
		Long: `Show hapressure's journal entries, the oldest first. If a flag is repeated,
entries of any of its values are shown. Different flags must all match.

With --json each entry is an object on a line of its own: time, message, kind, and the fields
that docs/logging.md lists, in lower case and without HAPRESSURE_.

` + render.Wrap("The kinds are "+strings.Join(slices.Sorted(maps.Values(controller.Kinds())), ", ")+".", 96, 0) + `

Entries that a process of another user than root logged under hapressure's name are left out. Root
and the members of the group systemd-journal may read the journal.

Exit codes: 0 shown, even if there are no entries, 1 failed, 2 wrong usage.`,
		Example: `  hapressure events --follow
  hapressure events --since today --result refused --result failed
  hapressure events --target haproxy.service --action purge-ssl-cache --json`,
		Args: usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			args, err := journalctlArgs(cmd, follow)
			if err != nil {
				return err
			}
			ctx, stop := host.UntilSignal(cmd.Context())
			defer stop()
			out := cmd.OutOrStdout()
			err = journalctl.Read(ctx, args, cmd.ErrOrStderr(),
				func(at time.Time, e systemd.Entry) error {
					if asJSON {
						return json.NewEncoder(out).Encode(journalctl.JSON(at, e))
					}
					// An entry may quote text of other processes, which a terminal might
					// execute.
					words := strings.FieldsFunc(e.Message,
						func(r rune) bool { return !unicode.IsGraphic(r) })
					_, err := fmt.Fprintln(out, at.Format(time.RFC3339), strings.Join(words, " "))
					return err
				})
			if errors.Is(err, journalctl.ErrTime) {
				return usageError{fmt.Errorf("--since or --until %w", err)}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false,
		"show the last 10 entries, and then new ones as they arrive")
	f.UintP("lines", "n", 0, "only the last `N`")
	f.String("since", "", "only since this `TIME`, in journalctl's format: 2026-01-31 12:00, yesterday, -1h")
	f.String("until", "", "only until this `TIME`")
	f.StringArray("target", nil, "only of this `UNIT` or cgroup, as named in the policy")
	f.StringArray("tier", nil, "only changes to this `TIER`, and its actions")
	f.StringArray("action", nil, "only this `ACTION`: "+strings.Join(eventFilters["action"], ", "))
	f.StringArray("result", nil, "only actions with this `RESULT`: "+strings.Join(eventFilters["result"], ", "))
	f.BoolVar(&asJSON, "json", false, "print JSON, one object a line")
	return cmd
}

// journalctlArgs returns the arguments of journalctl. No value is an argument of its own,
// so none can be read as a flag.
func journalctlArgs(cmd *cobra.Command, follow bool) ([]string, error) {
	// journald itself sets _UID; a sender can forge the other fields. _SYSTEMD_UNIT would
	// leave out what systemd-run ran.
	args := []string{"--output=json", "--all", "_UID=0", "SYSLOG_IDENTIFIER=" +
		controller.Identifier}
	for id := range controller.Kinds() {
		args = append(args, "MESSAGE_ID="+id)
	}
	if follow {
		args = append(args, "--follow")
	}
	for _, name := range []string{"lines", "since", "until"} {
		if f := cmd.Flags().Lookup(name); f.Changed {
			args = append(args, "--"+name+"="+f.Value.String())
		}
	}
	for name, known := range eventFilters {
		values, err := cmd.Flags().GetStringArray(name)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			if err := oneOf(name, v, known); known != nil && err != nil {
				return nil, err
			}
			if name == "target" {
				v = selector.NameOf(selector.Target(v))
			}
			args = append(args, controller.FieldPrefix+strings.ToUpper(name)+"="+v)
		}
	}
	return args, nil
}
