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

// keptPolicyLimit bounds the persisted policy, in bytes: JSON has four characters for
// three bytes.
const keptPolicyLimit = 2 * Limit

// Begin loads the first policy. If the files have mistakes, it returns them with the
// policy that was last in force, nil if there is none.
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

// last reads the policy that keep has persisted, in this daemon or an earlier one.
func (r *Follower) last() (*policy.Policy, []language.File, error) {
	f, err := OpenTrusted(r.kept, keptPolicyLimit)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	var was lastPolicy
	if err := json.NewDecoder(f).Decode(&was); err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", r.kept, err)
	}
	if len(was.Files) == 0 || !slices.Equal(was.Names, r.names) {
		return nil, nil, fmt.Errorf("reading %s: it belongs to other files", r.kept)
	}
	p, err := language.Decode(was.Files...)
	return p, was.Files, err
}

// keep has KeepLast persist the policy in force.
func (r *Follower) keep() {
	if r.kept == "" {
		return
	}
	select {
	case <-r.keeping: // an older policy that waits for a slow disk
	default:
	}
	r.keeping <- lastPolicy{r.names, r.files}
}

// KeepLast persists the policies of keep until ctx ends, beside the guards, which must
// not wait for a slow disk. It retries what it cannot write.
func (r *Follower) KeepLast(ctx context.Context) {
	var last lastPolicy
	var again <-chan time.Time
	reported := false
	for {
		select {
		case <-ctx.Done():
			return
		case last = <-r.keeping:
		case <-again:
		}
		err := r.write(last)
		if again = nil; err != nil {
			again = time.After(r.tryAgain)
		}
		if err != nil && !reported {
			controller.Events{Journal: r.journal}.StorageFailed("", "policy",
				fmt.Sprintf("The policy in force is not persisted: %v; retrying in %v", err,
					r.tryAgain), err)
		}
		reported = err != nil
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
