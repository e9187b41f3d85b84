package haproxy

import (
	"strings"
	"testing"

	"hapressure/haproxy/cli"
)

// What a worker says that accepts no connection, and what that makes it.
func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		info cli.Info
		want State
		why  string
	}{
		"stopping": {info: cli.Info{Stopping: true, Listeners: 1,
			Unstoppable: 1}, want: StateStopping},
		"not stopping": {info: cli.Info{Listeners: 1, Unstoppable: 1},
			want: StateUnknown, why: "Stopping: 0"},
		"in its grace, on sockets not seen": {info: cli.Info{Stopping: true, Listeners: 2,
			Unstoppable: 1}, want: StateUnknown, why: "counts 1 listeners"},
		"in its grace, not stopping any more": {info: cli.Info{Listeners: 7, Unstoppable: 1},
			want: StateUnknown, why: "Stopping: 0"},
	} {
		t.Run(name, func(t *testing.T) {
			state, why := judge(tt.info)
			if state != tt.want || !strings.Contains(why, tt.why) {
				t.Errorf("%v: %s, want %v: %s", state, why, tt.want, tt.why)
			}
		})
	}
}
