package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/systemd"
)

func statusCommand() *cobra.Command {
	var socket string
	var asJSON bool
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each target's tier, memory, pressure and workers, and what was done",
		Long: `Show for each target the tier it is in, since when and why, what would leave it, and actions that are withheld because they would
free too little; memory used of the limit with the least headroom, and how many more reloads fit; the limit that is used most, if it is another;
pressure; its workers with their connections, caches and the time at which they are ended; and the last actions with what they freed.
What does not apply or is not known is shown as -, and below unknown is why.

The daemon is asked over its control socket. Where it does not run, the command looks itself and says so: there is no tier then.

The fields of --json are described in docs/status.md, /usr/share/doc/hapressure/status.md. There may come more; none goes.

Exit codes: 0 shown, 1 failed, 2 wrong usage, 3 shown, but no daemon runs.`,
		Example: "  hapressure status\n  hapressure status --watch\n  hapressure status --json | jq '.targets[].tier'",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			watched := cmd.Flags().Changed("watch")
			switch out := cmd.OutOrStdout(); {
			case watched && watch < watchLeast:
				return usageError{fmt.Errorf("--watch takes an interval of %v at least", watchLeast)}
			case watched && asJSON:
				return usageError{errors.New("give only one of --watch and --json")}
			case watched:
				ctx, stop := untilSignal(cmd.Context())
				defer stop()
				return watchStatus(ctx, out, socket, watch)
			default:
				in := inspector{socket: socket, journal: quiet{}}
				s, err := in.status(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					err = writeJSON(out, s)
				} else {
					width, _ := window(out)
					_, err = io.WriteString(out, statusText(s, width))
				}
				if err == nil && s.Daemon == nil {
					err = errNoDaemon
				}
				return err
			}
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVarP(&watch, "watch", "w", 0, "show it again every `INTERVAL`, 1s at least, until interrupted")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	return cmd
}

// watchLeast is the shortest interval of --watch. The daemon reads its targets at most that often, and without a daemon
// each status reads the host, and asks HAProxy.
const watchLeast = time.Second

// watchStatus shows the status again and again, on a terminal in the same place: on its other screen, so that what was there comes back
// at the end, followed by what was shown last.
func watchStatus(ctx context.Context, out io.Writer, socket string, every time.Duration) error {
	last := ""
	if width, _ := window(out); width > 0 {
		io.WriteString(out, "\x1b[?1049h")
		defer func() { io.WriteString(out, "\x1b[?1049l"+last) }()
	}
	var notes notes
	in := inspector{socket: socket, journal: &notes}
	for {
		width, height := window(out)
		s, err := in.status(ctx)
		noted := notes.take(width)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			last = wrap(fmt.Sprintf("hapressure: %v; trying again", err), width, 2) + "\n"
		default:
			last = statusText(s, width) + noted
		}
		shown := last + "\n"
		if width > 0 {
			lines := strings.Split(last, "\n")
			shown = "\x1b[H" + strings.Join(lines[:min(len(lines), height)], "\x1b[K\r\n") + "\x1b[J"
		}
		if _, err := io.WriteString(out, shown); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

func socketFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "socket", control.Socket, "the daemon's control socket")
}

// errNoDaemon says that what was shown was not told by the daemon.
var errNoDaemon = errors.New("the daemon does not run")

// notes collects the log entries of a command that draws on the whole terminal, where log lines would be drawn over.
type notes struct {
	mu    sync.Mutex
	lines []string
}

// Send adds the message of an entry.
func (n *notes) Send(e systemd.Entry) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, e.Message)
	return nil
}

// take returns the messages as lines of a width, "" if there are none, and forgets them.
func (n *notes) take(width int) string {
	text := n.text(width)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = nil
	return text
}

// text returns the messages as lines of a width, "" if there are none.
func (n *notes) text(width int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	for _, line := range n.lines {
		fmt.Fprintln(&b, wrap(line, width, 2))
	}
	return b.String()
}

// inspector finds out the status again and again. It keeps one controller, which remembers what HAProxy has answered.
type inspector struct {
	socket  string
	journal controller.Journal // takes what cannot be read

	c      *controller.Controller // nil until the host was first inspected
	policy string                 // digest of the policy that c has
}

// status asks the daemon. If no daemon runs it inspects the host itself.
func (in *inspector) status(ctx context.Context) (status.Status, error) {
	s, err := control.NewClient(in.socket).Status(ctx)
	if !errors.Is(err, control.ErrNoDaemon) {
		return s, err
	}
	if os.Geteuid() != 0 {
		return s, fmt.Errorf("%w, and looking without it needs root: run this with sudo", err)
	}
	p, files, err := loadPolicy()
	if err != nil {
		return s, err
	}
	if in.c == nil {
		config, err := configOf(p, in.journal)
		if err != nil {
			return s, err
		}
		config.Origin = origin(files)
		in.c = controller.New(config)
	} else if in.policy != controller.Digest(p) {
		in.c.SetPolicy(p, origin(files))
	}
	in.policy = controller.Digest(p)
	return in.c.Look(ctx), nil
}

// statusText is the status for people, in lines of that width where it is not 0: first what is wrong with the daemon, then the targets.
func statusText(s status.Status, width int) string {
	var b strings.Builder
	note := func(text string) { fmt.Fprintln(&b, wrap(text, width, 2)) }
	d := s.Daemon
	if d == nil {
		note("The daemon does not run; this is what a look shows. Start it: systemctl start hapressure")
	} else if d.DryRun {
		note("Dry run: the daemon decides and tells, but no worker is touched.")
	}
	if d != nil {
		for _, r := range d.MissingRights {
			note("Missing: " + r.String())
		}
	}
	if s.Policy.Rejected != "" {
		note("An older policy is in force, for the files as they are now have mistakes: " + s.Policy.Rejected)
	}
	if len(s.Targets) == 0 {
		note("No target of the policy is running.")
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	for _, t := range s.Targets {
		targetText(&b, t, s, width)
		b.WriteByte('\n')
	}
	text := fmt.Sprintf("%s, in force for %s", s.Policy.Origin, since(s.At, s.Policy.Since))
	if d != nil {
		text += fmt.Sprintf("; hapressure %s, pid %d, up %s", d.Version, d.PID, since(s.At, d.Started))
	}
	note(strings.ToUpper(text[:1]) + text[1:])
	return b.String()
}

// shownActions is how many of the last actions are shown.
const shownActions = 5

func targetText(b *strings.Builder, t status.Target, s status.Status, width int) {
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(b, "  %-10s%s\n", label, wrap(text, width, 12))
		}
	}
	fmt.Fprintf(b, "%s  %s\n", printable(t.Name), printable(tierText(t, s)))
	line("because", t.TierWhy)
	line("left when", t.TierLeave)
	for _, w := range t.Withheld {
		line("withheld", fmt.Sprintf("for %s: %s", since(s.At, w.Since), w.Why))
	}
	line("memory", memoryText(t))
	line("limit", t.Limit.Name)
	if l := t.UsageLimit; l.Name != t.Limit.Name && l.Bytes > 0 {
		line("usage", fmt.Sprintf("%.0f%% of %s, the limit that is used most: %s of %s", t.Usage.Value, l.Name, size(l.Used), size(l.Bytes)))
	}
	line("pressure", fmt.Sprintf("some %s, full %s over 10 s; some %s, full %s over 60 s", percent(t.Some10), percent(t.Full10), percent(t.Some60), percent(t.Full60)))
	line("events", eventsText(t.Events))
	if t.Swap.Value > 0 {
		line("swap", size(uint64(t.Swap.Value)))
	}
	line("workers", workersText(t.Masters))
	line("hard stop", hardStopText(t))
	for _, why := range unknown(t) {
		line("unknown", why)
	}
	for _, m := range t.Masters {
		b.WriteByte('\n')
		table(b, "  ", workerTable(m.Workers))
	}
	if len(t.Actions) > 0 {
		b.WriteByte('\n')
	}
	for _, a := range slices.Backward(t.Actions[max(0, len(t.Actions)-shownActions):]) {
		fmt.Fprintf(b, "  %-11s %s\n", since(s.At, a.At)+" ago", wrap(actionText(a), width, 14))
	}
}

func tierText(t status.Target, s status.Status) string {
	text := "no tier"
	switch {
	case s.Daemon == nil:
		return "tier not known without the daemon"
	case t.Tier > 0 && t.Tier <= len(t.Tiers):
		text = fmt.Sprintf("tier %d of %d, %s", t.Tier, len(t.Tiers), t.Tiers[t.Tier-1])
	}
	if t.TierSince != nil {
		text += ", for " + since(s.At, *t.TierSince)
	}
	return text
}

func memoryText(t status.Target) string {
	if t.Limit.Bytes == 0 {
		return "not known: " + t.Usage.Absent
	}
	text := fmt.Sprintf("%s of %s (%.0f%%)", size(t.Limit.Used), size(t.Limit.Bytes), 100*float64(t.Limit.Used)/float64(t.Limit.Bytes))
	if t.ReloadRoom.Absent == "" {
		text += fmt.Sprintf(", room for %.*f reloads", max(0, 1-int(t.ReloadRoom.Value/10)), t.ReloadRoom.Value)
	}
	if t.LimitIn.Absent == "" {
		text += fmt.Sprintf(", at the limit in %s", span(t.LimitIn.Value))
	}
	return text
}

// eventsText tells what there was of memory.events, the worst first.
func eventsText(events map[string]policy.Reading) string {
	var parts []string
	for _, kind := range []string{"oom_kill", "oom", "max", "high"} {
		if n := events[kind].Value; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f", kind, n))
		}
	}
	return strings.Join(parts, ", ")
}

// workersText sums up.
func workersText(masters []status.Master) string {
	count := map[string]int{}
	var cache, private uint64
	conns, least := 0, ""
	for _, m := range masters {
		for _, w := range m.Workers {
			if count[w.State]++; w.State == haproxy.Stopping.String() {
				cache, private, conns = cache+or0(w.Cache), private+or0(w.Private), conns+or0(w.Connections)
				if w.Cache == nil || w.Private == nil || w.Connections == nil {
					least = "at least "
				}
			}
		}
	}
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
	}
	text := cmp.Or(strings.Join(parts, ", "), "none")
	if count[haproxy.Stopping.String()] > 0 {
		text += fmt.Sprintf(": %scaches %s, private %s, %d conns", least, size(cache), size(private), conns)
	}
	return text
}

func hardStopText(t status.Target) string {
	var parts []string
	if t.HardStopAfter != nil {
		parts = append(parts, span(*t.HardStopAfter)+" by the policy")
	}
	for _, m := range t.Masters {
		if m.HardStopAfter != nil {
			parts = append(parts, span(*m.HardStopAfter)+" by HAProxy's hard-stop-after")
		}
	}
	return strings.Join(slices.Compact(parts), "; ")
}

// unknown tells what is not known and why, each reason once.
func unknown(t status.Target) []string {
	of := map[string][]string{} // by the reason
	add := func(what, why string) {
		if why != "" && !slices.Contains(of[why], what) {
			of[why] = append(of[why], what)
		}
	}
	for _, sensor := range slices.Sorted(maps.Keys(t.Missing)) {
		add(sensor, t.Missing[sensor])
	}
	if t.WorkersAbsent != "" {
		add("workers, shown as of an earlier look", t.WorkersAbsent)
	}
	add("room for reloads", t.ReloadRoom.Absent)
	for _, m := range t.Masters {
		add("worker CLI", m.CLIError)
		add("hard-stop-after", m.HardStopError)
		for _, w := range m.Workers {
			add(fmt.Sprintf("connections of %d", w.PID), w.ConnError)
			add(fmt.Sprintf("cache of %d", w.PID), w.CacheError)
			add(fmt.Sprintf("memory of %d", w.PID), w.SizeError)
		}
	}
	var lines []string
	for why, what := range of {
		lines = append(lines, strings.Join(what, ", ")+": "+why)
	}
	slices.Sort(lines)
	return lines
}

func workerTable(workers []status.Worker) [][]string {
	rows := [][]string{{"GEN", "PID", "STATE", "AGE", "STOPPING", "CONNS", "CACHE", "PRIVATE", "HARD STOP"}}
	for _, w := range workers {
		rows = append(rows, []string{strconv.Itoa(w.Generation), strconv.Itoa(w.PID), w.State, span(w.Age), known(w.StoppingFor, span),
			known(w.Connections, strconv.Itoa), known(w.Cache, size), known(w.Private, size), known(w.HardStopIn, span)})
	}
	return rows
}

func actionText(a status.Action) string {
	what := cmp.Or(a.What, string(a.Result))
	if a.Error != "" {
		what += ": " + a.Error
	}
	return fmt.Sprintf("%s of %d: %s", a.Action, a.PID, what)
}

func or0[T any](v *T) (zero T) {
	if v == nil {
		return zero
	}
	return *v
}

func percent(r policy.Reading) string {
	if r.Absent != "" {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", r.Value)
}

func since(now, then time.Time) string { return span(max(0, now.Sub(then)).Seconds()) }
