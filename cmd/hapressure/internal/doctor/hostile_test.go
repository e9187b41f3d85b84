package doctor

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller/status"
	"hapressure/haproxy"
)

// Workers, sockets and files have names and say things that end up on an operator's
// terminal. It must not take them for commands.
func TestHostileTextIsNoCommand(t *testing.T) {
	const text = "\x1b]0;owned\a\x1b[2J\rworker\u202e 1\u009b31m"
	var workers, purges, findings strings.Builder
	in := status.Master{PID: 1, CLIError: text, HardStopError: text,
		Workers: []status.Worker{{PID: 2, Proof: text}}}
	if err := errors.Join(render.Workers(&workers, render.Screen{}, []status.Master{in}, nil,
		status.Memory{}),
		render.Purges(&purges, render.Screen{}, []status.Purge{{PID: 2, Reason: text}}),
		Print(&findings, render.Screen{}, []Finding{{warning, "workers", text, text}})); err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]string{
		"workers": workers.String(),
		"purge":   purges.String(),
		"doctor":  findings.String(),
		"error":   render.Wrap((&haproxy.Refusal{Reason: text}).Error(), 0, 0),
	} {
		if i := strings.IndexFunc(out, func(r rune) bool {
			return r != '\n' &&
				!unicode.IsPrint(r)
		}); i >= 0 {
			t.Errorf("%s: %q at %d of %q", name, out[i:i+1], i, out)
		}
		if !strings.Contains(out, `\x1b]0;owned`) {
			t.Errorf("%s does not tell it: %q", name, out)
		}
	}
}
