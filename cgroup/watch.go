package cgroup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// What wakes a watcher when the options do not say: a tenth of a second lost in
// a second.
const (
	defaultSome   = 100 * time.Millisecond
	defaultWindow = time.Second
)

// aliveEvery is how often Watch looks whether the group still exists. Mostly a
// sensor tells it sooner, but no kernel up to 6.12 tells inotify that a group
// was removed.
const aliveEvery = 5 * time.Second

// watched are the files that the kernel reports as modified: when a counter has
// risen, and when the first process has come or the last one has gone.
var watched = []string{"memory.events", "cgroup.events"}

// WatchOptions says what [Group.Watch] waits for.
type WatchOptions struct {
	// Some and Window are the pressure trigger: wake when tasks have stalled
	// for Some within any Window. A window is at most 10 s, and a multiple of
	// 2 s where the process has no CAP_SYS_RESOURCE; before kernel 6.5 such a
	// process gets no trigger at all. Zero means 100 ms in 1 s.
	Some, Window time.Duration

	// Missing is told once of each sensor that does not work, by the name of
	// its file, and why. The other sensors go on without it.
	Missing func(sensor string, err error)
}

// Watch calls wake when something about the group may have changed: reason is
// the file that reported it, memory.pressure, memory.events or cgroup.events.
// It is a hint to go and read; one sensor gives at most ten a second, and all
// calls come from one goroutine, the one that called Watch.
//
// Watch returns nil when ctx ends and [ErrGone] when the group is removed.
func (g *Group) Watch(ctx context.Context, opts WatchOptions, wake func(reason string)) error {
	if opts.Some == 0 && opts.Window == 0 {
		opts.Some, opts.Window = defaultSome, defaultWindow
	}
	if opts.Missing == nil {
		opts.Missing = func(string, error) {}
	}

	if err := g.Alive(); err != nil {
		return err // and no word of missing sensors
	}
	var hits chan struct{}
	var lost chan error
	trigger, err := g.openTrigger(opts.Some, opts.Window)
	if err != nil {
		opts.Missing(pressureFile, err)
	} else {
		defer trigger.close()
		hits, lost = trigger.hits, trigger.lost
	}

	files, err := fsnotify.NewWatcher()
	if err != nil {
		for _, name := range watched {
			opts.Missing(name, fmt.Errorf("watching %s: %w", name, err))
		}
		files = &fsnotify.Watcher{} // its channels are nil: it never reports
	} else {
		defer files.Close()
		g.watchFiles(files, opts.Missing)
	}

	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	p := newPacer(wake)
	defer p.timer.Stop()
	for {
		if err := g.Alive(); errors.Is(err, ErrGone) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-hits:
			p.hint(pressureFile)
		case event := <-files.Events:
			p.hint(filepath.Base(event.Name))
		case <-files.Errors:
			for _, name := range watched { // reports were lost: of which file, nobody knows
				p.hint(name)
			}
		case err := <-lost:
			lost = nil
			if g.Alive() == nil { // else the top of the loop says it
				opts.Missing(pressureFile, err)
			}
		case <-p.timer.C:
			p.flush()
		case <-alive.C:
		}
	}
}

// watchFiles adds the watched files, by way of the pinned directory: under the
// group's path there might be another group by now.
func (g *Group) watchFiles(files *fsnotify.Watcher, missing func(string, error)) {
	dir, err := g.root.Open(".")
	if err != nil {
		for _, name := range watched {
			missing(name, fmt.Errorf("watching %s: %w", name, err))
		}
		return
	}
	defer dir.Close()
	for _, name := range watched {
		err := files.Add(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name))
		if err != nil {
			missing(name, fmt.Errorf("watching %s of cgroup %s: %w", name, g.path, g.explain(name, err)))
		}
	}
}
