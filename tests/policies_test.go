package tests

import "testing"

// Instances under policies of their own, policies swapped while tiers are held, and recordings; the script is in policies.sh.
func TestPoliciesInGuest(t *testing.T) {
	script := readScript(t, "policies.sh")
	runInGuest(t, nil, script)
}
