package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"

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
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			out := cmd.OutOrStdout()
			return readJournal(ctx, args, cmd.ErrOrStderr(), func(at time.Time, e systemd.Entry) error {
				if asJSON {
					return json.NewEncoder(out).Encode(eventJSON(at, e))
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

// readJournal shows what journalctl finds, until that or ctx ends. The library that reads the journal's files, libsystemd, would need
// cgo, and the program is static.
func readJournal(ctx context.Context, args []string, stderr io.Writer, show func(time.Time, systemd.Entry) error) error {
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	journalctl := exec.CommandContext(own, "journalctl", args...)
	journalctl.Stderr = stderr
	journalctl.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us: it is no failure
	out, err := journalctl.StdoutPipe()
	if err != nil {
		return err
	}
	if err := journalctl.Start(); errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no journalctl here: without systemd's journal hapressure writes its entries to its standard error")
	} else if err != nil {
		return fmt.Errorf("starting journalctl: %w", err)
	}
	for lines := bufio.NewReader(out); err == nil; {
		var line []byte
		if line, err = lines.ReadBytes('\n'); bytes.HasPrefix(line, []byte("{")) { // else it is the end, or that there is nothing
			var at time.Time
			var e systemd.Entry
			if at, e, err = systemd.ParseEntry(line, controller.FieldPrefix); err == nil {
				err = show(at, e)
			}
		}
	}
	if err != io.EOF {
		cancel()
	}
	ended := journalctl.Wait()
	switch {
	case ctx.Err() != nil:
		return nil
	case err != io.EOF:
		return err
	case ended != nil:
		return fmt.Errorf("journalctl: %w; root and members of the group systemd-journal may read the journal", ended)
	}
	return nil
}

// numbers are the fields that are numbers in JSON.
var numbers = regexp.MustCompile(`^(.*_(pid|bytes|usec)|generation|sessions|left_out)$`)

func eventJSON(at time.Time, e systemd.Entry) map[string]any {
	shape := map[string]any{}
	for name, value := range e.Fields {
		name = strings.ToLower(strings.TrimPrefix(name, controller.FieldPrefix))
		shape[name] = value
		if n, err := strconv.ParseUint(value, 10, 64); err == nil && numbers.MatchString(name) {
			shape[name] = n
		}
	}
	shape["time"], shape["message"] = at.Format(time.RFC3339Nano), e.Message
	shape["kind"] = controller.Kinds()[e.MessageID]
	return shape
}
