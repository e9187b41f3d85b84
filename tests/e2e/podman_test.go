package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"hapressure/policy"
	"hapressure/tests/guest"
)

// podman is what runs containers in a guest without a network.
const podman = "podman,crun,conmon,catatonit,uidmap"

// podmanPolicy is that of hapressure on the host.
const podmanPolicy = `version: 1
targets:
  - cgroup: machine.slice/libpod-*.scope
tiers:
  - name: purge
    enter: always
    actions: [purge-ssl-cache: {}]
`

// confinement is what crun makes of the manifests: the six capabilities, no new
// privileges, a seccomp filter and a read-only root.
const confinement = "CapEff:\t0000010001880022\nNoNewPrivs:\t1\nSeccomp:\t2\nroot is ro\n"

// HAProxy and hapressure in containers of podman: an image as docker-library runs it,
// guarded from the host; sidecar.yaml; daemonset.yaml, with reloads by -sf. What stops is
// purged, and no tunnel is lost.
func TestPodman(t *testing.T) {
	needGuest(t)
	m := runOn(t, guest.Spec{
		Suite: "trixie", Packages: podman, Timeout: 40 * time.Minute,
		Files: map[string]string{
			"Containerfile":  "../../packaging/container/Containerfile",
			"sidecar.yaml":   "../../packaging/kubernetes/sidecar.yaml",
			"daemonset.yaml": "../../packaging/kubernetes/daemonset.yaml",
			"tunnels.py":     "tunnels.py",
		},
	}, podmanPolicy, read(t, "podman.sh"))
	for name, tunnels := range map[string]int{"host": 160, "sidecar": 10} {
		storm := m.report(t, name+".json")
		if storm.ReloadsFailed != 0 || storm.FreshFailed != 0 || storm.FreshOK == 0 {
			t.Errorf("%s: %d reloads failed; %d fresh requests answered, %d failed: %q", name,
				storm.ReloadsFailed, storm.FreshOK, storm.FreshFailed, storm.FreshErrors)
		}
		if storm.TunnelsOpened != tunnels || storm.TunnelsAlive != tunnels {
			t.Errorf("%s: %d of %d tunnels are alive, want %d", name, storm.TunnelsAlive,
				storm.TunnelsOpened, tunnels)
		}
	}
	if events := read(t, m.Dir+"/host.events"); !strings.Contains(events, "oom_kill 0\n") {
		t.Errorf("kills by the kernel in HAProxy's container: %s", events)
	}
	if n := len(m.actions(policy.PurgeSSLCache)); n < 8 {
		t.Errorf("%d purges of 8 stopping workers, guarded from the host", n)
	}
	purge := regexp.MustCompile(policy.PurgeSSLCache + ` on worker \d+ .*: freed 23\d MiB`)
	for _, name := range []string{"sidecar", "daemonset"} {
		log := read(t, fmt.Sprintf("%s/%s.log", m.Dir, name))
		if n := len(purge.FindAllString(log, -1)); n != 2 {
			t.Errorf("%s: %d purges of 2 stopping workers:\n%s", name, n, log)
		}
	}
	if n := strings.Count(m.Output, confinement); n != 2 {
		t.Errorf("%d containers of hapressure are confined as their manifests say, want 2", n)
	}
	if !strings.Contains(m.Output, "\n10 of 10 tunnels are alive\n") {
		t.Error("tunnels were lost in reloads by -sf")
	}
}
