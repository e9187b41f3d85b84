package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"hapressure/policy"
	"hapressure/systemd"
)

// lastPolicy is the policy that was last in force, and the names that the reloader was given for it. A policy file with mistakes in it, which a
// running daemon takes no notice of, is no reason to leave HAProxy unguarded after the next restart: an upgrade, say.
type lastPolicy struct {
	Names []string
	Files []policy.File
}

// begin loads the policy to start with. With an error it is the one that was last in force, or nil, and the error is what is wrong with the files.
func (r *reloader) begin() (p *policy.Policy, from string, mistakes error) {
	p, mistakes = r.load()
	if mistakes == nil {
		r.keep()
		return p, origin(r.files), nil
	}
	r.tell(systemd.PolicyRejected, 3, mistakes.Error())
	p, files, err := r.last()
	if err != nil {
		return nil, "", mistakes
	}
	return p, origin(files) + ", as it was last in force", mistakes
}

// last reads what keep has written, by this daemon or one before it.
func (r *reloader) last() (*policy.Policy, []policy.File, error) {
	f, err := os.Open(r.kept)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if err := checkTrust(f); err != nil {
		return nil, nil, err
	}
	var was lastPolicy
	if err := json.NewDecoder(f).Decode(&was); err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", r.kept, err)
	}
	if len(was.Files) == 0 || !slices.Equal(was.Names, r.names) {
		return nil, nil, fmt.Errorf("reading %s: it is of other files", r.kept)
	}
	p, err := policy.DecodeFiles(was.Files...)
	return p, was.Files, err
}

// keep writes down the policy that is now in force.
func (r *reloader) keep() {
	if r.kept == "" {
		return
	}
	b, err := json.Marshal(lastPolicy{r.names, r.files})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(r.kept), 0o700)
	}
	if err == nil {
		err = os.WriteFile(r.kept+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(r.kept+".new", r.kept)
	}
	if err != nil {
		goOnWithout(r.journal, "kept policy", "Cannot keep the policy for the next start", err)
	}
}
