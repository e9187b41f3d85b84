package haproxy

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

// What a worker says that accepts no connection, and what that makes it.
func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		info Info
		err  error
		want State
		why  string
	}{
		"stopping":                            {info: Info{Stopping: true, Listeners: 1, Unstoppable: 1}, want: Stopping},
		"not stopping":                        {info: Info{Listeners: 1, Unstoppable: 1}, want: Unknown, why: "Stopping: 0"},
		"in its grace, on sockets not seen":   {info: Info{Stopping: true, Listeners: 2, Unstoppable: 1}, want: Unknown, why: "counts 1 listeners"},
		"in its grace, not stopping any more": {info: Info{Listeners: 7, Unstoppable: 1}, want: Unknown, why: "Stopping: 0"},
		"silent":                              {info: Info{Stopping: true}, err: errSilent, want: Unknown, why: errSilent.Error()},
		"no way to it":                        {err: errors.Join(ErrNoCLI), want: Unknown, why: ErrNoCLI.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			state, why := judge(tt.info, tt.err)
			if state != tt.want || !strings.Contains(why, tt.why) {
				t.Errorf("%v: %s, want %v: %s", state, why, tt.want, tt.why)
			}
		})
	}
}

func TestWaitsForEvents(t *testing.T) {
	for text, want := range map[string]bool{
		"232 0x4 0x7f5d2c000b60 0xc8 0x3e8 0x0 0x0 0x7ffd5f5a8a80 0x7f5d3a2c1e26\n": true,  // epoll_wait, HAProxy 2.6
		"257 0xffffff9c 0x7ffc3 0x0 0x0 0x0 0x0 0x7ffc 0x7f01\n":                    false, // openat, of a FIFO in its configuration
		"running\n":                          false,
		"-1 0x7ffd5f5a8a80 0x7f5d3a2c1e26\n": false,
		"":                                   false,
	} {
		if got := waitsForEvents(text); runtime.GOARCH == "amd64" && got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
