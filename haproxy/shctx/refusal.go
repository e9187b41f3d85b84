package shctx

import (
	"errors"
	"fmt"
)

// A Refusal is the reason why memory is never written: a fact about it that does not
// change.
type Refusal struct{ Reason, Detail string }

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Reason
	}
	return r.Reason + ": " + r.Detail
}

// The reasons of a Refusal.
const (
	// NoCache: tune.ssl.cachesize is 0, the worker has no TLS, or the cache is private
	// memory (nbthread 1 before 2.9).
	NoCache = "no TLS session cache"
	// NotACache: a ring, for example.
	NotACache = "shared memory of another kind"
	// HTTPCache: a `cache` section.
	HTTPCache = "an HTTP cache"
	// OtherBlocks: blocks of another size (SHSESS_BLOCK_MIN_SIZE), or other callbacks.
	OtherBlocks = "not a TLS session cache"
	// NoLock: USE_THREAD=, so no lock shows whether the cache is in use.
	NoLock = "built without threads"
	// OtherLock: USE_PTHREAD_PSHARED=1, up to 2.4.
	OtherLock = "built with another lock"
	// DebugBuild: DEBUG_THREAD, with which the lock is a struct that also names its
	// owner.
	DebugBuild = "debug build"
	// UnknownLayout: an unknown release or build.
	UnknownLayout = "unrecognised memory layout"
	// TooSmall: there is nothing to gain, and the argument in docs/safety.md needs many
	// blocks.
	TooSmall = "cache too small"
	// NoHTTPCache: the mapping may be another kind of memory.
	NoHTTPCache = "no HTTP cache of a known layout"
	// VaryCache: with process-vary, 2.9 to 3.4 can lose count of the blocks.
	VaryCache = "HTTP cache with process-vary"
)

// Refuse makes a Refusal; detail is a format.
func Refuse(reason, detail string, args ...any) error {
	return &Refusal{reason, fmt.Sprintf(detail, args...)}
}

// IsRefusal reports whether err is a Refusal with this reason.
func IsRefusal(err error, reason string) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Reason == reason
}

// MoreTelling returns the one of two refusals that says more about what was expected to
// be a TLS session cache. The memory that resembles one least says least. nil says
// nothing.
func MoreTelling(a, b error) error {
	for _, vague := range []string{NotACache, OtherBlocks, HTTPCache} {
		if a == nil || IsRefusal(a, vague) {
			return b
		}
		if IsRefusal(b, vague) {
			return a
		}
	}
	return a
}
