package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hapressure/input"
	"hapressure/policy/record"
	"hapressure/policy/replay"
)

// recordingLimit bounds a recording, in bytes. The daemon's are of 16 MiB in half a day to two days.
const recordingLimit = 1 << 30

func replayCommand() *cobra.Command {
	var policies []string
	var page string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Run a policy over a recording and tell what it would have done",
		Long: `Run the policy code over recordings of one target: those of the daemon, given in their order, of 'hapressure record' or of 'hapressure
simulate'. A FILE named - is standard input. A recording that has no end, because it was cut off or is still being written, is replayed
up to there, with a warning on standard error.

Without --policy the recorded policy decides again, and must decide as it did. With --policy the given one decides on the recorded
samples, and the difference to what was recorded is told. What that one does was not done, so it is only a model: each action counts as
done after its typical time, a worker that was ended is in no later sample and a purged cache is empty; memory and pressure stay as they
were recorded, with all that the recorded actions freed.

A recording may have 1,000,000 lines, 2 GiB of text once it is decompressed, and 1000 beginnings: eleven days with a sample each second. What
each policy decided and did may take 128 MiB of memory. Beyond that the replay ends with an error that names the file and the line.

Exit codes: 0 done, 1 the recorded policy decides otherwise than recorded or a file cannot be read, 2 wrong usage.`,
		Example: "  hapressure replay /var/lib/hapressure/recordings/haproxy.service/*\n" +
			"  hapressure replay storm.jsonl --policy gentle.yaml --policy small-vps.yaml --html storm.html",
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			runs := []*replay.Run{replay.New("as recorded", nil)}
			for _, file := range policies {
				p, _, err := loadPolicy(file)
				if err != nil {
					return err
				}
				runs = append(runs, replay.New(file, p))
			}
			view, err := play(args, runs, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if page != "" {
				w, err := create(cmd, page)
				if err != nil {
					return err
				}
				if err := errors.Join(view.WriteHTML(w, runs), w.Close()); err != nil {
					return fmt.Errorf("writing %s: %w", page, err)
				}
			}
			switch out := cmd.OutOrStdout(); {
			case asJSON:
				err = view.WriteJSON(out, runs)
			case page != "-":
				tell(out, view, runs)
			}
			if err == nil && len(policies) == 0 {
				err = runs[0].Differs
			}
			return err
		},
	}
	cmd.Flags().StringArrayVarP(&policies, "policy", "p", nil, "policy file to try; may be given several times")
	cmd.Flags().StringVar(&page, "html", "", "write a page with the timeline to this file, - for standard output")
	cmd.Flags().BoolVar(&asJSON, "json", false, "tell it as JSON")
	return cmd
}

// play feeds recordings to runs.
func play(files []string, runs []*replay.Run, stderr io.Writer) (*replay.View, error) {
	view := &replay.View{}
	for _, name := range files {
		if err := playFile(name, view, runs, stderr); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return view, nil
}

// playFile feeds one recording to runs. It writes to stderr where a recording was cut off.
func playFile(name string, view *replay.View, runs []*replay.Run, stderr io.Writer) error {
	f, err := input.OpenOrStdin(name, recordingLimit)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := record.NewReader(f)
	for err == nil {
		var e record.Event
		if e, err = r.Next(); err != nil {
			break
		}
		if e.Begin != nil && view.Target != "" && e.Begin.Target != view.Target {
			return fmt.Errorf("it is of target %q, and the recordings before it are of %q: replay them one at a time", e.Begin.Target, view.Target)
		}
		view.Play(e)
		for _, run := range runs {
			err = errors.Join(err, run.Play(e))
		}
	}
	if err != io.EOF {
		return err
	}
	if line, cut := r.Cut(); cut {
		fmt.Fprintf(stderr, "hapressure: %s has no end: it was cut off after line %d (%s), or is still being written\n", name, line, view.To.Format(time.DateTime))
	}
	return nil
}

// totals tells how long a run was in which tier, and how often it did what.
func totals(r *replay.Run) string {
	var parts string
	for _, tier := range slices.Sorted(maps.Keys(r.Spent)) {
		if tier != "" {
			parts += fmt.Sprintf(" %s in tier %s,", span(r.Spent[tier].Seconds()), tier)
		}
	}
	given := r.Given()
	for _, kind := range slices.Sorted(maps.Keys(given)) {
		parts += fmt.Sprintf(" %d × %s,", given[kind], kind)
	}
	if parts == "" {
		return " nothing"
	}
	return strings.TrimSuffix(parts, ",")
}

// tell writes what the given policies did, or the recorded one, and how that compares with what was recorded.
func tell(out io.Writer, view *replay.View, runs []*replay.Run) {
	fmt.Fprintf(out, "%s, %s to %s, %d samples\n", view.Target, view.From.Format(time.DateTime), view.To.Format(time.DateTime), view.Samples)
	for i, r := range runs {
		if i == 0 && len(runs) > 1 {
			continue
		}
		fmt.Fprintf(out, "\n%s:\n", r.Name)
		for _, e := range r.Entries {
			fmt.Fprintln(out, &e)
		}
		if i > 0 {
			was, is := r.Differ(runs[0])
			fmt.Fprintf(out, "First difference to what was recorded:\n  recorded: %s\n  %s: %s\n", was, r.Name, is)
		}
	}
	fmt.Fprintln(out)
	for _, r := range runs {
		fmt.Fprintf(out, "In all, %s:%s\n", r.Name, totals(r))
	}
	if len(runs) > 1 {
		fmt.Fprintln(out, "What was not recorded is only a model: it counts as done after its typical time, and memory stays as it was recorded.")
	}
}
