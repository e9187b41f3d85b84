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

// recheckEvery is how often Watch checks whether the group still exists and whether there
// are sensors to arm. Mostly an event reports a removal sooner, but no kernel up to 6.12
// notifies inotify when a group is removed.
const recheckEvery = 30 * time.Second

// watched are the files that the kernel reports as modified: when a counter has risen,
// and when the first process has come or the last one has gone.
var watched = []string{"memory.events", "cgroup.events"}

// Watch calls wake when something about the group may have changed. reason is the file
// that reported it: memory.pressure (tasks stalled for 100 ms within a second),
// memory.events or cgroup.events. A call is a hint to read the group again; under
// pressure there are many. All calls come from the goroutine that called Watch.
//
// Watch calls missing once for each sensor that does not work, with the name of its file
// and the reason, and continues with the other sensors.
//
// Watch returns nil when ctx ends and [ErrGone] when the group is removed.
func (g *Group) Watch(
	ctx context.Context, missing func(sensor string, err error), wake func(reason string),
) error {
	return g.watch(ctx, recheckEvery, missing, wake)
}

func (g *Group) watch(
	ctx context.Context, every time.Duration, missing func(string, error), wake func(string),
) error {
	if err := g.Alive(); err != nil {
		return err // its sensors are not reported as missing
	}
	s := sensors{group: g, missing: missing, wake: wake}
	s.arm()
	defer s.disarm()
	return s.poll(ctx, every)
}

// sensors are what can wake a Watch: a pressure trigger and inotify.
type sensors struct {
	group   *Group
	missing func(sensor string, err error)
	wake    func(reason string)
	trigger *trigger // nil = not armed
	files   fileWatch
}

// arm arms all sensors and reports those that are missing.
func (s *sensors) arm() {
	var err error
	if s.trigger, err = s.group.openTrigger(stallSome, stallWindow); err != nil {
		s.missing(pressureFile, err)
	}
	s.files = s.group.watchFiles(s.missing)
}

func (s *sensors) disarm() {
	s.disarmTrigger()
	s.files.close()
}

func (s *sensors) disarmTrigger() {
	if s.trigger != nil {
		s.trigger.close()
	}
	s.trigger = nil
}

// rearm arms the sensors that did not exist before. It does not report those that are
// still missing.
func (s *sensors) rearm() {
	if s.trigger == nil {
		s.trigger, _ = s.group.openTrigger(stallSome, stallWindow)
	}
	if s.group.stale(s.files) {
		s.files.close()
		s.files = s.group.watchFiles(func(string, error) {})
		s.wakeForFiles() // for events before the files were watched
	}
}

func (s *sensors) wakeForFiles() {
	for name := range s.files.at {
		s.wake(name)
	}
}

// poll waits for events until ctx ends or the group is gone.
func (s *sensors) poll(ctx context.Context, every time.Duration) error {
	recheck := time.NewTicker(every)
	defer recheck.Stop()
	for {
		if err := s.group.Alive(); errors.Is(err, ErrGone) {
			return err
		}
		var hits chan struct{}
		var lost chan error
		if s.trigger != nil {
			hits, lost = s.trigger.hits, s.trigger.lost
		}
		select {
		case <-ctx.Done():
			return nil
		case <-hits:
			s.wake(pressureFile)
		case event := <-s.files.events:
			s.wake(filepath.Base(event.Name))
		case <-s.files.errors: // events were lost, of unknown files
			s.wakeForFiles()
		case err := <-lost:
			s.disarmTrigger()
			if s.group.Alive() == nil { // otherwise the next iteration returns
				s.missing(pressureFile, err)
			}
		case <-recheck.C:
			s.rearm()
		}
	}
}

// fileWatch watches those of the watched files that existed when it began.
type fileWatch struct {
	events <-chan fsnotify.Event
	errors <-chan error
	close  func() error
	at     map[string]os.FileInfo // by name
}

// watchFiles watches the files below the pinned directory: there may be another group
// under the group's path by now.
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
			err = g.explain(name, err)
			missing(name, fmt.Errorf("watching %s of cgroup %s: %w", name, g.path, err))
			continue
		}
		w.at[name] = file
	}
	return w
}

// stale reports whether there are files that are not watched: they were created later, or
// their controller was disabled and enabled again. Inotify reports neither.
func (g *Group) stale(w fileWatch) bool {
	return slices.ContainsFunc(watched, func(name string) bool {
		file, err := g.root.Stat(name)
		return err == nil && !os.SameFile(file, w.at[name])
	})
}
