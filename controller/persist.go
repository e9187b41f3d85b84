package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"hapressure/haproxy"
	"hapressure/input"
	"hapressure/policy"
)

// kept is what a guard leaves for the one that goes on after a restart of the program. It lies in /run, so it does not outlive the clock that
// its times are of. No proof is in it: what is stopping is proven anew.
type kept struct {
	Version int             `json:"Version"`
	Policy  string          `json:"Policy"` // its source
	State   policy.State    `json:"State"`
	Workers []haproxy.Known `json:"Workers"`
}

const keptVersion = 2

// keptLimit bounds the kept state of a target, in bytes. A worker takes about 200 in it, as in a line of a recording.
const keptLimit = 4 << 20

func (g *guard) keptFile() string {
	return filepath.Join(g.c.Keep, url.PathEscape(g.name)+stateSuffix)
}

// keep writes down what must not be lost: the tier and its deadlines. If that fails the guard continues.
func (g *guard) keep() {
	if g.c.Keep == "" {
		return
	}
	k := kept{keptVersion, g.policy.Load().Source, g.state, g.scanner.Known()}
	b, err := json.Marshal(k)
	if err == nil {
		tmp := g.keptFile() + unfinished
		if err = os.WriteFile(tmp, b, 0o600); err == nil {
			err = os.Rename(tmp, g.keptFile())
		}
	}
	if err != nil {
		g.storageFailed(stateStore, err, "State of %s is not persisted: %v; hapressure would begin without it after a restart; "+
			"retrying at the next change")
		return
	}
	delete(g.unstored, stateStore)
}

// The stores of a guard, as the journal names them.
const (
	recordingStore = "recording"
	stateStore     = "state"
)

// storageFailed reports an error of a store, once for as long as its reason is the same. The message is
// made of the target and the error.
func (g *guard) storageFailed(store string, err error, message string) {
	if why := err.Error(); g.unstored[store] != why {
		g.unstored[store] = why
		g.c.events.StorageFailed(g.name, store, fmt.Sprintf(message, g.name, err), err)
	}
}

// restore takes up what a guard before this one has kept.
func (g *guard) restore() {
	if g.c.Keep == "" {
		return
	}
	k, err := readKept(g.keptFile())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	p := g.policy.Load()
	if err == nil && k.Policy == p.Source {
		err = k.State.Resume(p)
	}
	if err != nil {
		g.storageFailed(stateStore, err, "State of %s is not restored: %v; beginning without it")
		return
	}
	k.State.Interrupted(g.now())
	g.state = k.State
	g.scanner.Recall(k.Workers)
}

func readKept(name string) (kept, error) {
	f, err := input.Open(name, keptLimit)
	if err != nil {
		return kept{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return kept{}, err
	}
	if st := fi.Sys().(*syscall.Stat_t); int(st.Uid) != os.Geteuid() || fi.Mode().Perm()&0o022 != 0 {
		return kept{}, fmt.Errorf("reading %s: it is not ours alone to write", name)
	}
	var k kept
	if err := json.NewDecoder(f).Decode(&k); err != nil {
		return kept{}, fmt.Errorf("reading %s: %w", name, err)
	}
	if k.Version != keptVersion {
		return kept{}, fmt.Errorf("reading %s: version %d, not %d", name, k.Version, keptVersion)
	}
	return k, nil
}
