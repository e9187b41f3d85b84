package controller

import (
	"path/filepath"
	"slices"
	"strings"

	"hapressure/haproxy"
)

// A daemon numbers the generations of each target, and persists the numbers. Commands
// that examine the host themselves take them over, so that a worker has one number
// everywhere.

// KnownWorkers returns what a daemon that persists in dir knows of the workers of each
// target. What cannot be read is left out: only numbers depend on it.
func KnownWorkers(dir string) map[string]haproxy.Known {
	all := map[string]haproxy.Known{}
	s, err := openStates(dir)
	if err != nil {
		return all
	}
	defer s.root.Close()
	for _, f := range s.files {
		if strings.HasSuffix(f.path, unfinished) {
			continue
		}
		if k, err := readPersisted(filepath.Join(dir, f.path)); err == nil {
			all[f.target] = k.Known
		}
	}
	return all
}

// TakeGenerations gives the workers of instances the numbers of the targets that know
// them. The workers of an instance that no target knows are numbered from 1.
func TakeGenerations(targets map[string]haproxy.Known, found []haproxy.Instance) {
	for _, in := range found {
		known := knownOf(targets, in)
		last := known.Last
		for _, k := range known.Workers {
			last = max(last, k.Generation)
		}
		for i := range in.Workers {
			w := &in.Workers[i]
			if w.Generation = generation(known, w.ID); w.Generation == 0 {
				last++
				w.Generation = last
			}
		}
	}
}

// knownOf returns what the target that knows most workers of an instance knows.
func knownOf(targets map[string]haproxy.Known, in haproxy.Instance) (best haproxy.Known) {
	most := 0
	for _, known := range targets {
		n := 0
		for _, w := range in.Workers {
			n += min(1, generation(known, w.ID))
		}
		if n > most {
			best, most = known, n
		}
	}
	return best
}

// generation returns the number of a worker, 0 if it has none.
func generation(known haproxy.Known, id haproxy.ID) int {
	i := slices.IndexFunc(known.Workers, func(w haproxy.KnownWorker) bool { return w.ID == id })
	if i < 0 {
		return 0
	}
	return known.Workers[i].Generation
}
