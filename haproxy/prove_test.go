package haproxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"hapressure/haproxy/cli"
	"hapressure/haproxy/proc"
	"hapressure/tests/haproxytest"
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
			Unstoppable: 1}, want: StateUnknown, why: "has listeners: 1"},
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

// A worker that accepts nothing and cannot say that it is stopping is unknown.
func TestWorkerThatCannotAnswerIsUnknown(t *testing.T) {
	silent := clientOf(t, func(conn net.Conn) {
		haproxytest.Command(conn)
		<-t.Context().Done()
	})
	silent.Timeout = 20 * time.Millisecond
	haproxytest.Eventually(t, "it leaves a question unanswered", func() error {
		if _, err := silent.Info(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("its answer: %w", err) // the question did not come so far
		}
		return nil
	})
	self := open(t, os.Getpid()).w.ID
	status, err := proc.ReadStatus("/proc", self.PID)
	if err != nil {
		t.Fatal(err)
	}
	nowhere, err := cli.New("/proc", self, self, status, proc.NewTurnstile())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cli  *cli.Client
		why  string
	}{
		{"silent", silent, "it has not answered an earlier question"},
		{"no way to it", nowhere, cli.ErrNoCLI.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, young := ID{PID: 1}, ID{PID: 2}
			in := Instance{Workers: []Worker{{ID: old, cli: tt.cli}, {ID: young}}}
			memories{old: {}}.proveStopping(t.Context(), &in,
				map[ID]sockets{old: acceptNothing, young: accept})
			w := in.Workers[0]
			if w.State != StateUnknown || !strings.Contains(w.Why, tt.why) || in.CLIErr == nil {
				t.Errorf("%v: %s, %v; want unknown: %s", w.State, w.Why, in.CLIErr, tt.why)
			}
		})
	}
}
