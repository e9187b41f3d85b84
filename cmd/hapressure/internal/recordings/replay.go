package recordings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/input"
	"hapressure/policy"
	"hapressure/policy/record"
	"hapressure/policy/replay"
)

// recordingLimit bounds a recording, in bytes. The daemon's have 16 MiB in half a day to
// two days.
const recordingLimit = 1 << 30

// Play feeds recordings to runs. It calls doing with what it does, and prints warnings
// to stderr.
func Play(
	files []string, runs []*replay.Run, stderr io.Writer, doing func(format string, args ...any),
) (*replay.View, error) {
	view := &replay.View{}
	for i, name := range files {
		doing("replaying %s, %d of %s", name, i+1, policy.Count(len(files), "recording"))
		err := playFile(name, view, runs, stderr)
		var named *fs.PathError
		if err != nil && !errors.As(err, &named) {
			err = fmt.Errorf("%s: %w", name, err)
		}
		if err != nil {
			return nil, err
		}
	}
	return view, nil
}

// playFile feeds one recording to runs. If the recording was cut off, it says so on
// stderr.
func playFile(name string, view *replay.View, runs []*replay.Run, stderr io.Writer) error {
	line, cut, err := Read(name, func(e record.Event) error {
		if e.Begin != nil && view.Target != "" && e.Begin.Target != view.Target {
			return fmt.Errorf("its target is %q, and that of the recordings before it is %q: replay them one at a time", e.Begin.Target, view.Target)
		}
		view.Play(e)
		var err error
		for _, run := range runs {
			err = errors.Join(err, run.Play(e))
		}
		return err
	})
	if cut && line == 0 && err == nil {
		return errors.New("it was cut off before its first sample: it cannot be replayed")
	}
	if cut {
		fmt.Fprintf(stderr, "hapressure: %s has no end: it was cut off after line %d (%s), or is still being written\n", name, line, replay.Clock(view.To))
	}
	return err
}

// Read passes each event of a recording to play. It returns after how many lines the
// recording was cut off, if it was.
func Read(name string, play func(record.Event) error) (lines int, cut bool, err error) {
	f, err := input.OpenOrStdin(name, recordingLimit)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	r, err := record.NewReader(f)
	for err == nil {
		var e record.Event
		if e, err = r.Next(); err == nil {
			err = play(e)
		}
	}
	if err != io.EOF {
		return 0, false, err
	}
	lines, cut = r.Cut()
	return lines, cut, nil
}

// totals sums up the time in each tier and the number of each action.
func totals(r *replay.Run) string {
	var parts string
	for _, tier := range slices.Sorted(maps.Keys(r.Spent)) {
		if tier != "" {
			parts += fmt.Sprintf(" %s in tier %s,", render.Span(r.Spent[tier].Seconds()), tier)
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

// Print writes what the given policies did, or the recorded one, and how that compares
// with what was recorded.
func Print(out io.Writer, view *replay.View, runs []*replay.Run) {
	fmt.Fprintf(out, "%s, %s to %s, %s\n", view.Target, replay.Clock(view.From),
		replay.Clock(view.To), policy.Count(view.Samples, "sample"))
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
			fmt.Fprintf(out, "First difference from the recording:\n  recorded: %s\n  %s: %s\n",
				was, r.Name, is)
		}
	}
	fmt.Fprintln(out)
	for _, r := range runs {
		fmt.Fprintf(out, "In all, %s:%s\n", r.Name, totals(r))
	}
	if len(runs) > 1 {
		fmt.Fprintln(out, "Actions that were not recorded are a model: they end after their typical time, and memory stays as recorded.")
	}
}
