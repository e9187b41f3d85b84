package policyfiles

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/controller"
	"hapressure/policy"
	"hapressure/systemd"
)

// settle is how long the files must not change before they are read: an editor writes
// in steps.
const settle = 200 * time.Millisecond

// Follow reloads the policy on hup and when a file changes, until ctx ends. It watches
// folders, not files: editors and Kubernetes replace a file or link by a new one.
func (r *Follower) Follow(ctx context.Context, to Holder, hup <-chan os.Signal) {
	r.to = to
	var events <-chan fsnotify.Event
	var lost <-chan error
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer w.Close()
		events, lost = w.Events, w.Errors
		r.watch(w)
		r.reloadIfChanged() // for changes before the watch
	} else {
		host.ReportMissing(r.journal, "the policy's files",
			"Cannot watch the policy's files; systemctl reload hapressure still reads them", err)
	}
	quiet := time.NewTimer(r.tryAgain)
	retry := func(err error) error {
		if err != nil {
			quiet.Reset(r.tryAgain)
		}
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			systemd.Reloading()
			retry(r.reload())
			systemd.Ready()
		case done := <-r.asked:
			done <- retry(r.reload())
		case <-events:
			quiet.Reset(settle)
		case <-lost: // of an unknown file
			quiet.Reset(settle)
		case <-quiet.C:
			if w != nil {
				r.watch(w) // some folders may be new
			}
			retry(r.reloadIfChanged())
		}
	}
}

// watch watches the folders of the files, and of a missing folder its parent. A folder
// may be watched twice.
func (r *Follower) watch(w *fsnotify.Watcher) {
	dirs := append([]string{filepath.Dir(SystemFile)}, DropIns...)
	if len(r.names) > 0 {
		dirs = nil
	}
	for _, name := range r.names {
		dirs = append(dirs, filepath.Dir(name))
	}
	for _, dir := range dirs {
		if w.Add(dir) != nil {
			w.Add(filepath.Dir(dir)) // without a watch, SIGHUP remains
		}
	}
}

// Reload has Follow reload, and returns the mistakes of the files.
func (r *Follower) Reload(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case r.asked <- done:
		return <-done
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reload puts the policy of the files in force. The error is their mistakes.
func (r *Follower) reload() error {
	p, err := r.load()
	return r.apply(p, err)
}

// reloadIfChanged is reload, but changes and logs nothing if the files are those of the
// last time.
func (r *Follower) reloadIfChanged() error {
	was := r.files
	p, err := r.load()
	if reflect.DeepEqual(was, r.files) {
		return err
	}
	return r.apply(p, err)
}

// apply puts a policy in force that was loaded with the given error.
func (r *Follower) apply(p *policy.Policy, mistakes error) error {
	events := controller.Events{Journal: r.journal}
	if mistakes != nil {
		r.to.KeepPolicy(mistakes)
		events.PolicyRejected(r.origin(), "The policy in force stays: "+mistakes.Error())
		return mistakes
	}
	r.to.SetPolicy(p, Origin(r.files))
	r.keep()
	events.PolicyLoaded(Origin(r.files))
	return nil
}
