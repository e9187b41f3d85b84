package host

import (
	"fmt"
	"io"
	"sync"

	"hapressure/controller"
	"hapressure/systemd"
)

// Stderr is a journal that prints entries about targets, sensors and files to standard
// error.
type Stderr struct{ io.Writer }

func (s Stderr) Send(e systemd.Entry) error {
	switch e.MessageID {
	case controller.TargetFound.ID(), controller.TargetLost.ID(), controller.SensorMissing.ID(),
		controller.StorageFailed.ID():
		fmt.Fprintln(s, e.Message)
	}
	return nil
}

// ReportMissing logs that hapressure continues without something.
func ReportMissing(j controller.Journal, what, message string, err error) {
	controller.Events{Journal: j}.Unavailable("", what, message+": "+err.Error(), err)
}

// Notes is a journal for a command that draws on the whole terminal, which would hide log
// lines.
type Notes struct {
	mu    sync.Mutex
	lines []string
}

// Send adds the message of an entry.
func (n *Notes) Send(e systemd.Entry) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, e.Message)
	return nil
}

// Take returns the messages since the last call.
func (n *Notes) Take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	lines := n.lines
	n.lines = nil
	return lines
}
