package host

import (
	"fmt"
	"os"
	"sync"

	"hapressure/controller"
	"hapressure/systemd"
)

// Stderr tells on standard error what concerns the recording: the target, missing sensors and failures to write. What would have been done is in it.
type Stderr struct{}

func (Stderr) Send(e systemd.Entry) error {
	switch e.MessageID {
	case controller.TargetFound.ID(), controller.TargetLost.ID(), controller.SensorMissing.ID(), controller.StorageFailed.ID():
		fmt.Fprintln(os.Stderr, e.Message)
	}
	return nil
}

// ReportMissing tells that something cannot be had, which is no reason not to guard.
func ReportMissing(j controller.Journal, what, message string, err error) {
	controller.Events{Journal: j}.Unavailable("", what, message+": "+err.Error(), err)
}

// Notes collects the log entries of a command that draws on the whole terminal, where log lines would be drawn over.
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

// Take returns the messages, and forgets them.
func (n *Notes) Take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	lines := n.lines
	n.lines = nil
	return lines
}
