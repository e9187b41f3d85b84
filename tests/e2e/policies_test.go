package e2e

import (
	"os"
	"testing"
)

// Instances under policies of their own, policies swapped while tiers are held, and
// recordings; the script is in policies.sh.
func TestPoliciesInGuest(t *testing.T) {
	script, err := os.ReadFile("policies.sh")
	if err != nil {
		t.Fatal(err)
	}
	runInGuest(t, "", string(script))
}
