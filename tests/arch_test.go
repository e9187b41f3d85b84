package tests

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tests of package haproxy, which purge a real HAProxy, on the architectures that HAPRESSURE_SUITES names beside the releases.
func TestPurgeOnArchitecture(t *testing.T) {
	for _, suite := range suites() {
		if !strings.Contains(suite, ":") {
			continue // package haproxy's own tests run on this machine
		}
		t.Run(suite, func(t *testing.T) {
			spec := specOf(suite)
			program := filepath.Join(t.TempDir(), "haproxy.test")
			goFor(t, spec.Arch, "test", "-c", "-o", program, "hapressure/haproxy")
			spec.Files = map[string]string{"haproxy.test": program}
			spec.Run = "uname -m; export HAPRESSURE_HAPROXY=/usr/sbin/haproxy; ./haproxy.test -test.run ^Test -test.v -test.timeout 55m"
			spec.Timeout = time.Hour
			boot(t, spec)
		})
	}
}
