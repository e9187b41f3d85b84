package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/recordings"
	"hapressure/policy/replay"
)

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
				p, _, err := policyfiles.Load(file)
				if err != nil {
					return err
				}
				runs = append(runs, replay.New(file, p))
			}
			view, err := recordings.Play(args, runs, cmd.ErrOrStderr())
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
				recordings.Print(out, view, runs)
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
