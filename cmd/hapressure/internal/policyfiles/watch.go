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
	"hapressure/policy/language"
	"hapressure/systemd"
)

// Follower keeps the policy in force that the files hold. A policy with mistakes changes nothing.
type Follower struct {
	names   []string        // of the files; none = the system's
	kept    string          // file of the policy that was last in force; "" = none
	keeping chan lastPolicy // the policy to be written there
	files   []language.File
	asked   chan chan error // to reload, and what came of it
	to      Holder          // set by Follow
	journal controller.Journal
}

// Holder holds the policy in force; *controller.Controller is it.
type Holder interface {
	SetPolicy(p *policy.Policy, origin string)
	KeepPolicy(mistakes error)
}

const (
	settle   = 200 * time.Millisecond // how long files must be left alone before they are read: an editor writes in several steps
	tryAgain = time.Minute            // what was wrong may have been mended where no change is seen: the target of a link, a disk that came late
)

// NewFollower makes a follower of the policy in files, of which all but the first are drop-ins, or without any of this
// system's. kept is the file of the policy that was last in force, "" for none.
func NewFollower(names []string, kept string, j controller.Journal) *Follower {
	return &Follower{names: names, kept: kept, journal: j, keeping: make(chan lastPolicy, 1), asked: make(chan chan error)}
}

// Follow puts the files' policy in force on hup and when a file changes, until ctx ends. Folders are watched, not files: editors and Kubernetes put
// a new file, or a new link, in the place of the old one.
func (r *Follower) Follow(ctx context.Context, to Holder, hup <-chan os.Signal) {
	r.to = to
	var events <-chan fsnotify.Event
	var lost <-chan error
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer w.Close()
		events, lost = w.Events, w.Errors
		r.watch(w)
		r.reload(false) // for what changed before they were watched
	} else {
		host.ReportMissing(r.journal, "the policy's files", "Cannot watch the policy's files, reload with SIGHUP", err)
	}
	quiet := time.NewTimer(tryAgain)
	reload := func(must bool) error {
		err := r.reload(must)
		if err != nil {
			quiet.Reset(tryAgain)
		}
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			systemd.Reloading()
			reload(true)
			systemd.Ready()
		case done := <-r.asked:
			done <- reload(true)
		case <-events:
			quiet.Reset(settle)
		case <-lost: // of which file, nobody knows
			quiet.Reset(settle)
		case <-quiet.C:
			if w != nil {
				r.watch(w) // there may be folders now that were not there
			}
			reload(false)
		}
	}
}

// watch watches the folders of the files, and for a folder that is not there the one above. To watch one again does no harm.
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
			w.Add(filepath.Dir(dir)) // a folder that cannot be watched leaves SIGHUP
		}
	}
}

func (r *Follower) load() (p *policy.Policy, err error) {
	p, r.files, err = load(r.names, true)
	return p, err
}

// Reload has Follow reload, and returns what is wrong with the files.
func (r *Follower) Reload(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case r.asked <- done:
		return <-done
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reload puts the files' policy in force if it has changed, or if it must be. The error is what is wrong with them.
func (r *Follower) reload(must bool) error {
	was := r.files
	p, err := r.load()
	if !must && reflect.DeepEqual(was, r.files) {
		return err // good or bad, it was told
	}
	if err != nil {
		r.to.KeepPolicy(err)
		controller.Events{Journal: r.journal}.PolicyRejected(r.origin(), "The policy in force stays: "+err.Error())
		return err
	}
	r.to.SetPolicy(p, Origin(r.files))
	r.keep()
	controller.Events{Journal: r.journal}.PolicyLoaded(Origin(r.files))
	return nil
}

// origin returns the policy's files in words, "" if they cannot be read.
func (r *Follower) origin() string {
	if len(r.files) == 0 {
		return ""
	}
	return Origin(r.files)
}
