package doctor

import (
	"fmt"
	"strings"
	"testing"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/tests/golden"
)

// On a screen what is fine takes a line, and what is not is wrapped, with its remedy.
func TestPrint(t *testing.T) {
	long := strings.Repeat("a text that takes more than a line of a terminal, ", 3)
	findings := []Finding{{fine, "kernel", long, ""}, {fine, "policy", "short\nand more", ""},
		{warning, "oom", long, "systemctl edit haproxy.service: OOMPolicy=continue, " + long},
		{problem, "rights", "CAP_KILL is missing", "add it"}}
	for _, width := range []int{0, 80} {
		var b strings.Builder
		if err := Print(&b, render.Screen{Width: width, Color: true}, findings); err != nil {
			t.Fatal(err)
		}
		golden.Check(t, fmt.Sprintf("testdata/findings-%d.txt", width), b.String())
	}
}
