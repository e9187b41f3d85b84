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
const podman = "podman,crun,conmon,catatonit,uidmap,dbus-user-session,slirp4netns,fuse-overlayfs"

// podmanPolicy is that of hapressure on the host.
const podmanPolicy = `version: 1
targets:
  - cgroup: machine.slice/libpod-*.scope
tiers:
  - name: purge
    enter: always
    actions: [purge-ssl-cache: {}]
`

// quadletPolicy guards a container that is a unit, by the built-in policy.
const quadletPolicy = `version: 1
targets: [{unit: lb.service}]
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
	}, podmanPolicy, read(t, "podman-image.sh")+read(t, "podman.sh"))
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

// HAProxy without a master in a container that is a unit (Quadlet), in a storm of reloads
// by -sf: purging alone is enough, and no tunnel is lost.
func TestPodmanStormWithoutMaster(t *testing.T) {
	needGuest(t)
	m := runOn(t, guest.Spec{Suite: "trixie", Packages: podman, Timeout: 30 * time.Minute},
		quadletPolicy, read(t, "podman-image.sh")+read(t, "podman-storm.sh"))
	m.storm = m.report(t, "storm.json")
	var storms stormTable
	storms.add("", "podman -sf, hapressure", m.storm)
	storms.log(t)
	m.storm.serves(t)
	if m.storm.TunnelsOpened != 160 || m.storm.TunnelsAlive != 160 {
		t.Errorf("%d of %d tunnels are alive, want 160 of 160", m.storm.TunnelsAlive,
			m.storm.TunnelsOpened)
	}
	if len(m.actions(policy.PurgeSSLCache)) == 0 {
		t.Error("nothing was purged")
	}
}

// rootlessPolicy is that of hapressure on the host, for containers of any user.
const rootlessPolicy = `version: 1
targets:
  - cgroup: user.slice/user-*.slice/user@*.service/user.slice/libpod-*.scope
tiers:
  - name: purge
    enter: always
    actions: [purge-ssl-cache: {}]
`

// HAProxy in containers of a user's own (rootless podman), with a master and without, is
// purged by hapressure on the host, and no tunnel is lost.
func TestPodmanRootless(t *testing.T) {
	needGuest(t)
	m := runOn(t, guest.Spec{
		Suite: "trixie", Packages: podman, Timeout: 30 * time.Minute,
		Files: map[string]string{"tunnels.py": "tunnels.py"},
	}, rootlessPolicy, read(t, "podman-image.sh")+read(t, "podman-rootless.sh"))
	if n := strings.Count(m.Output, "\n10 of 10 tunnels are alive\n"); n != 2 {
		t.Errorf("all tunnels are alive in %d ways of running, want 2", n)
	}
	if n := strings.Count(m.Output, ": covered by target /user.slice/"); n != 2 {
		t.Errorf("doctor names %d HAProxies that are guarded, want 2", n)
	}
	purges := m.actions(policy.PurgeSSLCache)
	if len(purges) != 4 {
		t.Errorf("%d purges of 4 stopping workers", len(purges))
	}
	for _, e := range purges {
		if freed := number(t, e, "HAPRESSURE_FREED_BYTES"); freed < 230*mib {
			t.Errorf("a purge freed %d bytes only", freed)
		}
	}
}
