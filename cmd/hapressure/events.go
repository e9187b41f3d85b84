package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/journalctl"
	"hapressure/controller"
	"hapressure/policy"
	"hapressure/systemd"
)

// eventFilters are the flags named like a field, with the values that it may have; nil = any.
var eventFilters = map[string][]string{"target": nil, "tier": nil, "action": policy.Kinds, "result": {"done", "refused", "failed", "skipped"}}

func eventsCommand() *cobra.Command {
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what hapressure saw and did, from the journal",
		Long: `Show hapressure's journal entries, the oldest first. A flag given again shows more; different flags must all fit.

With --json each entry is an object on a line of its own: time, message, the fields that docs/logging.md lists, in lower case and
without HAPRESSURE_, and kind: ` + strings.Join(slices.Sorted(maps.Values(controller.Kinds())), ", ") + `.

What anybody but root logged under hapressure's name is left out. Root and members of the group systemd-journal may read the
journal.

Exit codes: 0 shown, be it nothing, 1 failed, 2 wrong usage.`,
		Example: `  hapressure events --follow
  hapressure events --since today --result refused --result failed
  hapressure events --target haproxy.service --action purge-ssl-cache --json`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			args, err := journalctlArgs(cmd, follow)
			if err != nil {
				return err
			}
			ctx, stop := host.UntilSignal(cmd.Context())
			defer stop()
			out := cmd.OutOrStdout()
			return journalctl.Read(ctx, args, cmd.ErrOrStderr(), func(at time.Time, e systemd.Entry) error {
				if asJSON {
					return json.NewEncoder(out).Encode(journalctl.JSON(at, e))
				}
				// An entry may quote what it met, and a terminal obeys more than text.
				words := strings.FieldsFunc(e.Message, func(r rune) bool { return !unicode.IsGraphic(r) })
				_, err := fmt.Fprintln(out, at.Format(time.RFC3339), strings.Join(words, " "))
				return err
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on with entries as they come, after the last 10")
	f.UintP("lines", "n", 0, "only the last `N`")
	f.String("since", "", "only from this `TIME` on, as journalctl reads it: 2026-01-31 12:00, yesterday, -1h")
	f.String("until", "", "only up to this `TIME`")
	f.StringArray("target", nil, "only of this `UNIT` or cgroup, as the policy names it")
	f.StringArray("tier", nil, "only changes to this `TIER`, and what it asked for")
	f.StringArray("action", nil, "only this `ACTION`: "+strings.Join(eventFilters["action"], ", "))
	f.StringArray("result", nil, "only actions with this `RESULT`: "+strings.Join(eventFilters["result"], ", "))
	f.BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	return cmd
}

// journalctlArgs are the arguments that choose. No value is an argument of its own, so none can be taken for a flag.
func journalctlArgs(cmd *cobra.Command, follow bool) ([]string, error) {
	// _UID is what journald itself knows of the sender; the rest anybody can claim. _SYSTEMD_UNIT would leave out what systemd-run ran.
	args := []string{"--output=json", "--all", "_UID=0", "SYSLOG_IDENTIFIER=" + controller.Identifier}
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
			if known != nil && !slices.Contains(known, v) {
				return nil, usageError{fmt.Errorf("--%s %q is none of %s", name, v, strings.Join(known, ", "))}
			}
			if name == "target" && strings.Contains(v, "/") { // a cgroup: its entries have it with a slash at its begin
				v = path.Clean("/" + v)
			}
			args = append(args, controller.FieldPrefix+strings.ToUpper(name)+"="+v)
		}
	}
	return args, nil
}
