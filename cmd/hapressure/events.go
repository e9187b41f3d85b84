package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

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
	var screen *screenOptions
	cmd := &cobra.Command{
		Use:        "events",
		SuggestFor: []string{"log", "logs", "journal"},
		Short:      "Show what hapressure observed and did, from the journal",
		Long: `Show hapressure's journal entries, the oldest first. If a flag is repeated,
entries of any of its values are shown. Different flags must all match. On a terminal a summary
precedes them, and long entries are cut: --full shows them whole.

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
			on, err := screen.of(cmd)
			if err != nil {
				return err
			}
			args, err := journalctlArgs(cmd, follow)
			if err != nil {
				return err
			}
			ctx, stop := host.UntilSignal(cmd.Context())
			defer stop()
			out := cmd.OutOrStdout()
			show := func(at time.Time, e systemd.Entry) error {
				return json.NewEncoder(out).Encode(journalctl.JSON(at, e))
			}
			list := listing{out: out, screen: on, summarize: on.Terminal && !follow}
			if !asJSON {
				show = list.show
			}
			err = journalctl.Read(ctx, args, cmd.ErrOrStderr(), show)
			if err == nil && !asJSON {
				err = list.end()
			}
			if errors.Is(err, journalctl.ErrTime) {
				return usageError{fmt.Errorf("--since or --until %w", err)}
			}
			return err
		},
	}
	screen = screenFlags(cmd)
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

// listing prints entries as lines of text.
type listing struct {
	out       io.Writer
	screen    render.Screen
	summarize bool           // the first entries wait for a summary
	waiting   []render.Event // render.MostEvents at most
	cut       int            // entries
}

func (l *listing) show(at time.Time, e systemd.Entry) error {
	shown := render.Event{At: at, Kind: controller.Kinds()[e.MessageID], Message: e.Message,
		Priority: e.Priority}
	if !l.summarize {
		return l.print(shown)
	}
	if l.waiting = append(l.waiting, shown); len(l.waiting) == render.MostEvents {
		return l.flush()
	}
	return nil
}

func (l *listing) print(e render.Event) error {
	cut, err := e.Print(l.out, l.screen)
	if cut {
		l.cut++
	}
	return err
}

// flush prints the summary and the entries that wait for it.
func (l *listing) flush() error {
	l.summarize = false
	_, err := fmt.Fprintln(l.out, render.EventsSummary(l.screen, l.waiting))
	for _, e := range l.waiting {
		err = errors.Join(err, l.print(e))
	}
	return err
}

// end prints what still waits, and how to see what was cut.
func (l *listing) end() (err error) {
	if l.summarize {
		err = l.flush()
	}
	if err == nil && l.cut > 0 {
		_, err = fmt.Fprintln(l.out, l.screen.Paint(render.Minor, policy.Count(l.cut, "entry")+
			" cut. --full shows all."))
	}
	return err
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
