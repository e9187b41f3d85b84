package controller

import (
	"io"
	"time"

	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
)

// Config is what a Controller works with.
type Config struct {
	Policy  *policy.Policy
	Origin  string         // the policy's files, in words
	Daemon  *status.Daemon // for the status; nil if this program is no daemon
	DryRun  bool           // decide and report, but change no worker
	Procfs  string         // the proc file system, /proc
	Cgroups string         // the mount point of cgroup v2
	Journal Journal
	// Ways lead to systemd, the best first. The first that works is used until one before
	// it works, or the connection is lost. Without any, only targets given as cgroups are
	// found.
	Ways []Way
	// Status gets a line that describes the targets whenever it changes. May be nil.
	Status func(string)
	// StateDir is a folder for the state that a restarted daemon continues with. A reboot
	// must empty it. "" persists nothing.
	StateDir string
	// Known is what a daemon knows of the workers of targets, whose generations a
	// controller that is no daemon takes over.
	Known map[string]haproxy.Known
	// Record opens the file of a target's next recording. A new file begins after
	// RecordSize bytes. nil records nothing.
	Record     func(target string) io.WriteCloser
	RecordSize int64
	// Recordings is the folder that Record writes into, if it has recordings of several
	// targets. The oldest of targets that are no longer guarded are removed.
	Recordings Recordings

	// Steering is in force until Steer changes it.
	Steering Steering

	pauses  pauses // for tests; zero means the usual ones
	steered *steered
}

// pauses are between attempts.
type pauses struct {
	lookup    time.Duration // for targets without an event, and for a better way to systemd
	reconnect time.Duration // to systemd
}

var usualPauses = pauses{lookup: 10 * time.Second, reconnect: 5 * time.Second}
