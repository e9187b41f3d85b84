package cgroup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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
	files, none := fsnotify.NewWatcher()
	if none != nil {
		files = &fsnotify.Watcher{} // its channels are nil: it never reports
	} else {
		defer files.Close()
	}
	watch := func(name string) error {
		if none != nil {
			return fmt.Errorf("watching %s: %w", name, none)
		}
		return g.watchFile(files, name)
	}
	unwatched := map[string]bool{}
	for _, name := range watched {
		if err := watch(name); err != nil {
			unwatched[name] = true
			missing(name, err)
		}
	}

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
		case event := <-files.Events:
			wake(filepath.Base(event.Name))
		case <-files.Errors:
			for _, name := range watched { // reports were lost: of which file, nobody knows
				if !unwatched[name] {
					wake(name)
				}
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
			for name := range unwatched { // so can the memory controller
				if watch(name) == nil {
					delete(unwatched, name)
					wake(name)
				}
			}
		}
	}
}

// watchFile goes by way of the pinned directory: under the group's path there might be another group by now.
func (g *Group) watchFile(files *fsnotify.Watcher, name string) error {
	dir, err := g.root.Open(".")
	if err == nil {
		defer dir.Close()
		err = files.Add(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name))
	}
	if err != nil {
		return fmt.Errorf("watching %s of cgroup %s: %w", name, g.path, g.explain(name, err))
	}
	return nil
}
