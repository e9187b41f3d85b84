package controller

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
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
