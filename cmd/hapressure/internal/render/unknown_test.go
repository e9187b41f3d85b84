package render

import (
	"strings"
	"testing"

	"hapressure/controller/status"
)

// A current worker is not asked for its connections, so they are not reported as unknown.
func TestCurrentWorkerIsNotUnknown(t *testing.T) {
	target := status.Target{Masters: []status.Master{{Workers: []status.Worker{
		{PID: 1, State: "current", ConnError: "not asked"},
		{PID: 2, State: "stopping", ConnError: "no answer"},
	}}}}
	if got := strings.Join(Unknown(target), "; "); got != "connections of 2: no answer" {
		t.Errorf("%q", got)
	}
}
