package render

import (
	"fmt"
	"strings"
	"testing"

	"hapressure/cmd/hapressure/internal/statustest"
	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/tests/golden"
)

func TestStatusText(t *testing.T) {
	dry := statustest.Status(statustest.Blind())
	dry.Daemon.DryRun = true
	dry.Policy.Rejected = "the policy has mistakes:\n/etc/hapressure/policy.yaml:7:19: usage has " +
		"an unknown key \"over\": known are above, below"
	none := statustest.Status()
	none.Daemon = nil
	look := statustest.Status(statustest.Calm())
	look.Daemon = nil
	paused := statustest.Status(statustest.Calm())
	paused.Targets[0].Mode = status.Mode{InForce: policy.Observe, Set: policy.PurgeOnly,
		Paused: true, Why: "paused until 2026-01-02 15:04:05"}
	for name, s := range map[string]status.Status{"calm": statustest.Status(statustest.Calm()),
		"storm":   statustest.Status(statustest.Storm("haproxy.service", 12), statustest.Calm()),
		"crowded": statustest.Status(statustest.Crowded()), "blind": dry, "none": none,
		"look": look, "paused": paused} {
		for _, width := range []int{0, 80, 120} {
			text := Status(s, Screen{Width: width})
			golden.Check(t, "testdata/"+fmt.Sprintf("status-%s-%d.txt", name, width), text)
			wantWidth(t, text, width)
			if strings.ContainsFunc(text, func(r rune) bool {
				return r < ' ' && r != '\n' ||
					r == 0x7f
			}) {
				t.Errorf("%s holds control characters: %q", name, text)
			}
		}
	}
}

// wantWidth holds that no line of a text is longer than a screen of a width.
func wantWidth(t *testing.T, text string, width int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := len([]rune(line)) - 1; width > 0 && n > width {
			t.Errorf("at %d columns a line has %d: %s", width, n, line)
		}
	}
}
