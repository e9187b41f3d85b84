package doctor

import (
	"fmt"
	"io"
	"strings"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/policy"
)

// levels are those of findings.
var levels = map[string]render.Level{fine: render.Good, warning: render.Warning,
	problem: render.Problem}

// indent is the width of the level and the check before a finding.
const indent = 20

// Print prints a summary and the findings. On a screen, findings that are fine take a
// line each, and others are wrapped.
func Print(out io.Writer, s render.Screen, findings []Finding) error {
	line := func(before string, l render.Level, text string) error {
		_, err := fmt.Fprintf(out, "%s%s\n", before, s.Paint(l, text))
		return err
	}
	if err := line("", worst(findings), summary(findings)); err != nil {
		return err
	}
	cut := 0
	for _, f := range findings {
		before := fmt.Sprintf("%s %-10s ", s.Paint(levels[f.Level], fmt.Sprintf("%-8s", f.Level)),
			f.Check)
		found := strings.ReplaceAll(f.Found, "\n", "; ")
		var err error
		if f.Level == fine && f.Do == "" {
			rest := render.Screen{Width: max(0, s.Width-indent)}
			if rest.Cut(found) {
				cut++
			}
			err = line(before, render.Plain, rest.Line(render.Plain, found))
		} else {
			err = line(before, render.Plain, render.Wrap(found, s.Width, indent))
		}
		if err == nil && f.Do != "" {
			err = line(strings.Repeat(" ", indent)+"-> ", render.Plain,
				render.Wrap(f.Do, s.Width, indent+3))
		}
		if err != nil {
			return err
		}
	}
	if cut > 0 {
		return line("", render.Minor, policy.Count(cut, "finding")+" cut. --full shows all.")
	}
	return nil
}

func worst(findings []Finding) (l render.Level) {
	for _, f := range findings {
		l = max(l, levels[f.Level])
	}
	return l
}

// summary counts the findings, the worst first.
func summary(findings []Finding) string {
	count := map[string]int{}
	for _, f := range findings {
		count[f.Level]++
	}
	text := "No problem"
	if n := count[problem]; n > 0 {
		text = policy.Count(n, "problem")
	}
	return fmt.Sprintf("%s, %s, %d ok", text, policy.Count(count[warning], "warning"), count[fine])
}
