package controller

import (
	"io"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// listMost bounds the directory entries that one sweep reads. A later sweep reads the
// others.
const listMost = 10_000

// storedFile is a file that a guard wrote for its target.
type storedFile struct {
	target  string
	path    string // in the folder of the store
	size    int64
	written time.Time
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

// ownedByUs reports whether a file belongs to the user that this program runs as.
func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
