package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// leftoverBounds bound the files in a store whose targets are no longer guarded. Every
// container that is a target leaves a recording and a state, so the bounds are over all
// such targets. Files of a target that is guarded now do not count.
type leftoverBounds struct {
	age     time.Duration // since the file was last written
	targets int           // the last ones that were guarded
	bytes   int64
}

// recordingBounds are the bounds of recordings; perTarget bounds those of one target, in
// bytes. Recordings answer "what happened?", which is asked within days: two weeks leave
// room for a holiday. One glob has at most matchLimit targets at a time, so the last
// recording of each stays. The bytes are those of 16 targets, 256 MiB by default: a
// fraction of /var on a small host.
func recordingBounds(perTarget int64) leftoverBounds {
	return leftoverBounds{age: 14 * 24 * time.Hour, targets: matchLimit, bytes: 16 * perTarget}
}

// stateBounds are the bounds of states. The workers in the state of a stopped target have
// exited, but a unit that is started again within a day continues with its tier. /run is
// memory, so the bytes are few; a state has some hundred bytes for each worker.
var stateBounds = leftoverBounds{age: 24 * time.Hour, targets: matchLimit, bytes: 4 << 20}

const (
	sweepEvery = 5 * time.Minute
	// listMost bounds the directory entries that one sweep reads. A later sweep reads the
	// others.
	listMost = 10_000
)

// storedFile is a file that a guard wrote for its target.
type storedFile struct {
	target  string
	path    string // in the folder of the store
	size    int64
	written time.Time
}

// excess returns the files that exceed the bounds, the oldest last. The newest stay.
func (b leftoverBounds) excess(files []storedFile, now time.Time) (over []storedFile) {
	files = slices.SortedFunc(slices.Values(files), func(a, b storedFile) int {
		return cmp.Or(b.written.Compare(a.written), cmp.Compare(b.path, a.path))
	})
	targets, bytes := map[string]bool{}, int64(0)
	for _, f := range files {
		if now.Sub(f.written) > b.age || !targets[f.target] && len(targets) == b.targets {
			over = append(over, f)
			continue
		}
		targets[f.target] = true
		if bytes += f.size; bytes > b.bytes {
			over = append(over, f)
		}
	}
	return over
}

// store is a folder of recordings or of states.
type store struct {
	root    *os.Root
	files   []storedFile
	folders []storedFile // of recordings, one of a target each
	left    int          // entries that may still be read
}

// openRecordings lists a folder that has a folder for each target, named by its target,
// with recordings in it. The error of a folder that is not there is fs.ErrNotExist.
func openRecordings(dir string) (*store, error) {
	s, entries, err := openStore(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		target, ok := targetOf(e.Name())
		info, err := s.root.Lstat(e.Name())
		if !ok || err != nil || !info.IsDir() || !ownedByUs(info) {
			continue
		}
		s.folders = append(s.folders, storedFile{target: target, path: e.Name()})
		recordings, err := s.list(e.Name())
		if err != nil {
			s.root.Close()
			return nil, err
		}
		for _, r := range recordings {
			if recordingName.MatchString(r.Name()) {
				s.add(target, e.Name()+"/"+r.Name())
			}
		}
	}
	return s, nil
}

// openStates lists a folder that has a state for each target. A state that was not
// written to its end is one as well.
func openStates(dir string) (*store, error) {
	s, entries, err := openStore(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(strings.TrimSuffix(e.Name(), unfinished), stateSuffix)
		if target, isTarget := targetOf(name); ok && isTarget {
			s.add(target, e.Name())
		}
	}
	return s, nil
}

func openStore(dir string) (*store, []fs.DirEntry, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	s := &store{root: root, left: listMost}
	entries, err := s.list(".")
	if err != nil {
		root.Close()
		return nil, nil, err
	}
	return s, entries, nil
}

func (s *store) list(folder string) ([]fs.DirEntry, error) {
	if s.left <= 0 {
		return nil, nil
	}
	f, err := s.root.Open(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(s.left)
	if err == io.EOF {
		err = nil
	}
	s.left -= len(entries)
	return entries, err
}

// add takes up a file if it is one that a guard wrote: a regular file, no link, of this
// user.
func (s *store) add(target, path string) {
	if info, err := s.root.Lstat(path); err == nil && info.Mode().IsRegular() && ownedByUs(info) {
		s.files = append(s.files, storedFile{target, path, info.Size(), info.ModTime()})
	}
}

// sweep removes the leftovers that exceed the bounds, and the folders that are empty
// then.
func (s *store) sweep(
	b leftoverBounds, guarded func(target string) bool, now time.Time,
) (err error) {
	left := map[string]int{} // files of a target
	for _, f := range s.files {
		left[f.target]++
	}
	remove := func(f storedFile) bool {
		if guarded(f.target) { // by now
			return false
		}
		rerr := s.root.Remove(f.path)
		if rerr != nil && !errors.Is(rerr, fs.ErrNotExist) && !errors.Is(rerr, syscall.ENOTEMPTY) {
			err = errors.Join(err, rerr)
			return false
		}
		return true
	}
	old := slices.DeleteFunc(slices.Clone(s.files), func(f storedFile) bool {
		return guarded(f.target)
	})
	for _, f := range slices.Backward(b.excess(old, now)) {
		if remove(f) {
			left[f.target]--
		}
	}
	for _, folder := range s.folders {
		if left[folder.target] == 0 {
			remove(folder)
		}
	}
	return err
}

// targetOf returns the target whose recordings or state have a name. A target is a unit,
// which has a dot, or a cgroup's path: lost+found is none.
func targetOf(name string) (target string, ok bool) {
	target, err := url.PathUnescape(name)
	ok = err == nil && url.PathEscape(target) == name && !strings.HasPrefix(target, ".") &&
		(strings.HasPrefix(target, "/") || strings.Contains(target, "."))
	return target, ok
}

const (
	recordingTime   = "20060102T150405.000000Z"
	recordingSuffix = ".jsonl.gz"
	stateSuffix     = ".json"
	unfinished      = ".new"
)

var recordingName = regexp.MustCompile(`^\d{8}T\d{6}\.\d{6}Z\.jsonl\.gz$`)

// Usage is what a store holds.
type Usage struct {
	Targets, Files int
	Bytes          int64
	AtLeast        bool // there are more files than are counted
}

func (s *store) usage() Usage {
	u, targets := Usage{Files: len(s.files), AtLeast: s.left <= 0}, map[string]bool{}
	for _, f := range s.files {
		u.Bytes += f.size
		targets[f.target] = true
	}
	u.Targets = len(targets)
	return u
}

// Usage returns what there is of recordings. The error of a folder that is not there is
// fs.ErrNotExist.
func (r Recordings) Usage() (Usage, error) { return usage(r.Dir, openRecordings) }

// StateUsage returns what there is of states in a folder. The error of a folder that is
// not there is fs.ErrNotExist.
func StateUsage(dir string) (Usage, error) { return usage(dir, openStates) }

func usage(dir string, open func(string) (*store, error)) (Usage, error) {
	s, err := open(dir)
	if err != nil {
		return Usage{}, err
	}
	defer s.root.Close()
	return s.usage(), nil
}

// Exceeded reports whether there is more than there may be while so many targets are
// guarded.
func (r Recordings) Exceeded(u Usage, guarded int) bool {
	b := recordingBounds(r.PerTarget)
	return u.Targets > guarded+b.targets || u.Bytes > int64(guarded)*r.PerTarget+b.bytes
}

// StatesExceeded reports whether there are more states than there may be while so many
// targets are guarded.
func StatesExceeded(u Usage, guarded int) bool { return u.Targets > guarded+stateBounds.targets }

// Bounds describes the bounds of recordings.
func (r Recordings) Bounds() string {
	return fmt.Sprintf("%s for each target that is guarded; for all others %s",
		mib(uint64(r.PerTarget)), recordingBounds(r.PerTarget))
}

// StateBounds describes the bounds of states.
func StateBounds() string { return fmt.Sprintf("for targets that are not guarded %s", stateBounds) }

func (b leftoverBounds) String() string {
	return fmt.Sprintf("%s, %d targets, %d hours", mib(uint64(b.bytes)), b.targets, b.age/time.Hour)
}

// leftovers are the files of a store whose targets are no longer guarded.
type leftovers struct {
	store  string // as the journal names it
	dir    string // "" has none
	open   func(dir string) (*store, error)
	bounds leftoverBounds
}

// sweepLeftovers removes leftovers of a store until ctx ends. Each store has a goroutine
// that nothing waits for: a disk that hangs delays neither a guard nor the other store.
// The first sweep comes after the targets that run have been found.
func (c *Controller) sweepLeftovers(ctx context.Context, l leftovers) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	reported := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := l.sweep(c.guarded)
		if err != nil && err.Error() != reported {
			message := fmt.Sprintf("Old files in %s are not removed: %v; retrying every %v",
				l.dir, err, sweepEvery)
			c.events.StorageFailed("", l.store, message, err)
		}
		reported = text(err)
	}
}

func (l leftovers) sweep(guarded func(target string) bool) error {
	if l.dir == "" {
		return nil
	}
	s, err := l.open(l.dir)
	if errors.Is(err, fs.ErrNotExist) { // no guard has written there yet
		return nil
	}
	if err != nil {
		return err
	}
	defer s.root.Close()
	return s.sweep(l.bounds, guarded, time.Now())
}
