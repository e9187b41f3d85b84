package policyfiles

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/controller"
	"hapressure/input"
	"hapressure/policy"
	"hapressure/policy/language"
)

// lastPolicy is the policy that was last in force, and the names that the reloader was given for it. A policy file with mistakes in it, which a
// running daemon takes no notice of, is no reason to leave HAProxy unguarded after the next restart: an upgrade, say.
type lastPolicy struct {
	Names []string        `json:"Names"`
	Files []language.File `json:"Files"`
}

// keptPolicyLimit bounds the file of the last policy, in bytes: JSON has four characters for three bytes.
const keptPolicyLimit = 2 * Limit

// Begin loads the policy to start with. With an error it is the one that was last in force, or nil, and the error is what is wrong with the files.
func (r *Follower) Begin() (p *policy.Policy, from string, mistakes error) {
	p, mistakes = r.load()
	if mistakes == nil {
		r.keep()
		return p, Origin(r.files), nil
	}
	controller.Events{Journal: r.journal}.PolicyRejected(r.origin(), mistakes.Error())
	p, files, err := r.last()
	if err != nil {
		return nil, "", mistakes
	}
	return p, Origin(files) + ", as it was last in force", mistakes
}

// last reads what keep has written, by this daemon or one before it.
func (r *Follower) last() (*policy.Policy, []language.File, error) {
	f, err := input.Open(r.kept, keptPolicyLimit)
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
	p, err := language.Decode(was.Files...)
	return p, was.Files, err
}

// keep has the policy that is now in force written down.
func (r *Follower) keep() {
	if r.kept == "" {
		return
	}
	select {
	case <-r.keeping: // it waits for a slow disk, and is the last no more
	default:
	}
	r.keeping <- lastPolicy{r.names, r.files}
}

// KeepLast writes down what keep gives it until ctx ends: a slow disk must not hold up who guards. What cannot be written is tried again.
func (r *Follower) KeepLast(ctx context.Context) {
	var last lastPolicy
	var again <-chan time.Time
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case last = <-r.keeping:
		case <-again:
		}
		err := r.write(last)
		if again = nil; err != nil {
			again = time.After(tryAgain)
		}
		if err != nil && !told {
			controller.Events{Journal: r.journal}.StorageFailed("", "policy",
				fmt.Sprintf("The policy in force is not persisted: %v; retrying in %v", err, tryAgain), err)
		}
		told = err != nil
	}
}

func (r *Follower) write(last lastPolicy) error {
	b, err := json.Marshal(last)
	if err != nil {
		return err
	}
	if was, err := input.ReadFile(r.kept, keptPolicyLimit); err == nil && bytes.Equal(was, b) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(r.kept), 0o700); err != nil {
		return err
	}
	return host.ReplaceFile(r.kept, b, 0o600)
}
