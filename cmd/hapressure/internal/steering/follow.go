package steering

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"time"

	"hapressure/controller"
)

// every is how often the files are read. They need not be watched: the commands ask for
// it, so this is for what else changes them, and for pauses that end.
const every = 10 * time.Second

// Read returns what is set. A file that is missing sets nothing; one that cannot be read
// or has mistakes makes the steering unknown.
func (f Files) Read() (s controller.Steering) {
	var merr, perr error
	s.Modes, merr = f.readModes()
	s.Pauses, perr = f.readPauses()
	if err := errors.Join(merr, perr); err != nil {
		s.Unknown = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return s
}

// Follower puts what the files say in force when it changes.
type Follower struct {
	files Files
	last  controller.Steering
	asked chan chan struct{}
}

// Follow returns a follower of files, and what they say now.
func Follow(files Files) (*Follower, controller.Steering) {
	f := &Follower{files: files, last: files.Read(), asked: make(chan chan struct{})}
	return f, f.last
}

// Run reads the files and steers by them, until ctx ends. A disk that hangs delays
// nothing else.
func (f *Follower) Run(ctx context.Context, steer func(controller.Steering)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		var done chan struct{}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case done = <-f.asked:
		}
		if is := f.files.Read(); !reflect.DeepEqual(is, f.last) {
			steer(is)
			f.last = is
		}
		if done != nil {
			close(done)
		}
	}
}

// Reload has Run read the files at once, and returns when what they say is in force.
func (f *Follower) Reload(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case f.asked <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
