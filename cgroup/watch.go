package cgroup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// The pressure that wakes: a tenth of a second lost in a second.
const (
	stallSome   = 100 * time.Millisecond
	stallWindow = time.Second
)

// aliveEvery is how often Watch looks whether the group still exists. Mostly a sensor tells it sooner, but no kernel up to 6.12 tells
// inotify that a group was removed.
const aliveEvery = 30 * time.Second

// watched are the files that the kernel reports as modified: when a counter has risen, and when the first process has come or the last
// one has gone.
var watched = []string{"memory.events", "cgroup.events"}

// Watch calls wake when something about the group may have changed: reason is the file that reported it, memory.pressure (when tasks have
// stalled for 100 ms within a second), memory.events or cgroup.events. It is a hint to go and read, and under pressure there are many.
// All calls come from one goroutine, the one that called Watch.
//
// missing is told once of each sensor that does not work, by the name of its file, and why. The others go on without it.
//
// Watch returns nil when ctx ends and [ErrGone] when the group is removed.
func (g *Group) Watch(ctx context.Context, missing func(sensor string, err error), wake func(reason string)) error {
	if err := g.Alive(); err != nil {
		return err // and no word of missing sensors
	}
	var hits chan struct{}
	var lost chan error
	var armed *trigger
	arm := func() error {
		t, err := g.openTrigger(stallSome, stallWindow)
		if err == nil {
			armed, hits, lost = t, t.hits, t.lost
		}
		return err
	}
	disarm := func() {
		if armed != nil {
			armed.close()
		}
		armed, hits, lost = nil, nil, nil
	}
	defer disarm()
	if err := arm(); err != nil {
		missing(pressureFile, err)
	}
	files := g.watchFiles(missing)
	defer func() { files.close() }()

	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		if err := g.Alive(); errors.Is(err, ErrGone) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-hits:
			wake(pressureFile)
		case event := <-files.events:
			wake(filepath.Base(event.Name))
		case <-files.errors: // reports were lost: of which file, nobody knows
			for name := range files.at {
				wake(name)
			}
		case err := <-lost:
			disarm()
			if g.Alive() == nil { // else the top of the loop says it
				missing(pressureFile, err)
			}
		case <-alive.C:
			if armed == nil {
				_ = arm() // pressure figures can be turned on, or on again; that they are off was told
			}
			if g.stale(files) {
				files.close()
				files = g.watchFiles(func(string, error) {}) // what cannot be watched was told
				for name := range files.at {
					wake(name) // for what has happened meanwhile
				}
			}
		}
	}
}

// fileWatch watches those of the watched files that there were when it began.
type fileWatch struct {
	events <-chan fsnotify.Event
	errors <-chan error
	close  func() error
	at     map[string]os.FileInfo // by name
}

// watchFiles goes by way of the pinned directory: under the group's path there might be another group by now.
func (g *Group) watchFiles(missing func(sensor string, err error)) fileWatch {
	w := fileWatch{close: func() error { return nil }, at: map[string]os.FileInfo{}}
	inotify, none := fsnotify.NewWatcher()
	if none == nil {
		w.events, w.errors, w.close = inotify.Events, inotify.Errors, inotify.Close
	}
	dir, err := g.root.Open(".")
	if err == nil {
		defer dir.Close()
	}
	for _, name := range watched {
		var file os.FileInfo
		err := cmp.Or(none, err)
		if err == nil {
			file, err = g.root.Stat(name)
		}
		if err == nil {
			err = inotify.Add(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name))
		}
		if err != nil {
			missing(name, fmt.Errorf("watching %s of cgroup %s: %w", name, g.path, g.explain(name, err)))
			continue
		}
		w.at[name] = file
	}
	return w
}

// stale reports whether there are files that are not watched: they came later, or with a controller that was taken away and given back. Of
// neither does inotify tell.
func (g *Group) stale(w fileWatch) bool {
	return slices.ContainsFunc(watched, func(name string) bool {
		file, err := g.root.Stat(name)
		return err == nil && !os.SameFile(file, w.at[name])
	})
}
