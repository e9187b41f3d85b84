package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"hapressure/tests/guest"
)

// A Prometheus scrapes the service, in its sandbox, over the socket that systemd gives
// it; the script is in metrics.sh.
func TestMetricsInGuest(t *testing.T) {
	needGuest(t)
	deb := pack(t, "1")
	script, err := os.ReadFile("metrics.sh")
	if err != nil {
		t.Fatal(err)
	}
	prometheus, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("%v (make setup installs it)", err)
	}
	res, err := lab.Run(t.Context(), guest.Spec{
		Suite: "trixie",
		Files: map[string]string{
			"1.deb":      filepath.Join(deb, "hapressure_1-1_"+runtime.GOARCH+".deb"),
			"storm":      filepath.Join(programs(t, runtime.GOARCH), "storm"),
			"prometheus": prometheus,
		},
		Run:     string(script),
		Timeout: 15 * time.Minute,
		Live:    &logLines{t: t},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Remove() })
	if res.ExitStatus != 0 {
		t.Fatalf("the script ended with %d", res.ExitStatus)
	}
}
