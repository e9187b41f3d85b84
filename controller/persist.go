package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"hapressure/haproxy"
	"hapressure/input"
	"hapressure/policy"
)

// persisted is the state of a guard that a restarted daemon continues with. It lies in
// /run, so it does not outlive the clock of its times. It has no proofs: a new daemon
// proves again what is stopping.
type persisted struct {
	Version int          `json:"Version"`
	Policy  string       `json:"Policy"` // its source
	State   policy.State `json:"State"`
	haproxy.Known
}

const persistedVersion = 2

// persistedLimit bounds the persisted state of a target, in bytes. A worker takes about
// 200.
const persistedLimit = 4 << 20

// persist stores the state of one guard.
type persist struct {
	file    string // "" stores nothing
	storage storage
}

func newPersist(dir, target string, s storage) persist {
	if dir == "" {
		return persist{}
	}
	return persist{filepath.Join(dir, url.PathEscape(target)+stateSuffix), s}
}

// save stores the tier, its deadlines and the workers' generations. The guard continues
// after a failure.
func (p persist) save(under *policy.Policy, s policy.State, known haproxy.Known) {
	if p.file == "" {
		return
	}
	b, err := json.Marshal(persisted{persistedVersion, under.Source, s, known})
	if err == nil {
		if err = os.WriteFile(p.file+unfinished, b, 0o600); err == nil {
			err = os.Rename(p.file+unfinished, p.file)
		}
	}
	if err != nil {
		p.storage.failed(stateStore, err, "State of %s is not persisted: %v; "+
			"hapressure would begin without it after a restart; retrying at the next change")
		return
	}
	p.storage.works(stateStore)
}

// restore returns what an earlier guard of the target has saved.
func (p persist) restore(
	under *policy.Policy,
) (s policy.State, known haproxy.Known, found bool) {
	if p.file == "" {
		return s, known, false
	}
	k, err := readPersisted(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, known, false
	}
	if err == nil && k.Policy == under.Source {
		err = k.State.Resume(under)
	}
	if err != nil {
		p.storage.failed(stateStore, err, "State of %s is not restored: %v; beginning without it")
		return s, known, false
	}
	return k.State, k.Known, true
}

func readPersisted(name string) (persisted, error) {
	f, err := input.Open(name, persistedLimit)
	if err != nil {
		return persisted{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return persisted{}, err
	}
	if !ownedByUs(fi) || fi.Mode().Perm()&0o022 != 0 {
		return persisted{}, fmt.Errorf("reading %s: another user can write it", name)
	}
	var k persisted
	if err := json.NewDecoder(f).Decode(&k); err != nil {
		return persisted{}, fmt.Errorf("reading %s: %w", name, err)
	}
	if k.Version != persistedVersion {
		return persisted{}, fmt.Errorf("reading %s: version %d, not %d",
			name, k.Version, persistedVersion)
	}
	return k, nil
}
