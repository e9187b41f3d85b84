package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/progress"
	"hapressure/cmd/hapressure/internal/recordings"
	"hapressure/policy/replay"
)

func replayCommand() *cobra.Command {
	var policies []string
	var page string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Run a policy over a recording and print what it would have done",
		Long: `Run the policy engine over recordings of one target: those of the daemon in their
order, of 'hapressure record' or of 'hapressure simulate'. A FILE named - is standard input. A
recording without an end was cut off or is still being written: it is replayed up to that point,
with a warning on standard error.

Without --policy the recorded policy decides again, and must decide as recorded. With --policy
the given policy decides on the recorded samples, and replay prints the first difference.
Actions of that policy were not executed, so their effect is a model: each action ends after its
typical time, a terminated worker is in no later sample, and a purged cache is empty. Memory and
pressure stay as recorded, with all that the recorded actions freed.

A recording may have 1,000,000 lines, 2 GiB of decompressed text and 1000 beginnings: eleven
days with a sample each second. The decisions and actions of each policy may take 128 MiB of
memory. Beyond these bounds replay fails with the file and the line.

Exit codes: 0 done; 1 the recorded policy decides otherwise than recorded, or a file cannot be
read; 2 wrong usage.`,
		Example: "  hapressure replay /var/lib/hapressure/recordings/haproxy.service/*\n" +
			"  hapressure replay storm.rec --policy gentle.yaml --policy small-vps.yaml --html " +
			"storm.html",
		Args: usage(someArguments("FILE")),
		RunE: func(cmd *cobra.Command, args []string) error {
			if page == "-" && asJSON {
				return usageError{errors.New("--html - and --json both write to standard output: " +
					"give --html a FILE, or leave one out")}
			}
			runs := []*replay.Run{replay.New("as recorded", nil)}
			for _, file := range policies {
				p, _, err := policyfiles.Load(file)
				if err != nil {
					return err
				}
				runs = append(runs, replay.New(file, p))
			}
			line := progress.Interruptible(cmd.ErrOrStderr(), "replaying")
			view, err := recordings.Play(args, runs, line, line.Doing)
			line.End()
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
	cmd.Flags().StringArrayVarP(&policies, "policy", "p", nil,
		"policy `FILE` to try; may be repeated")
	cmd.Flags().StringVar(&page, "html", "",
		"write a page with the timeline to `FILE`, - for standard output")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
