package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// inMakeTest are the guest tests that `make test` runs (HAPRESSURE_TESTS=guest).
// `make test-all` (HAPRESSURE_TESTS=all) runs all. Without it none runs.
var inMakeTest = []string{
	"TestCacheStorm", "TestContainers", "TestDebInGuest", "TestFailedReloadKeepsTheLiveWorker",
	"TestHeapStorm",
}

// needGuest skips a test that the scope of this run leaves out.
func needGuest(t *testing.T) {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	switch {
	case testing.Short():
		t.Skip("needs a guest: left out under -short")
	case everything():
	case os.Getenv("HAPRESSURE_TESTS") == "guest" && slices.Contains(inMakeTest, name):
	default:
		t.Skip("needs a guest: HAPRESSURE_TESTS=guest runs some of these tests, =all all")
	}
}

// everything reports whether this is a run of `make test-all`.
func everything() bool { return os.Getenv("HAPRESSURE_TESTS") == "all" }
