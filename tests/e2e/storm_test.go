package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"hapressure/controller"
	"hapressure/policy"
)

const mib = 1 << 20

// serves checks what no storm may cost: reloads, the live worker, a fresh request, or a
// kill by the kernel.
func (r stormReport) serves(t *testing.T) {
	t.Helper()
	if r.ReloadsFailed != 0 {
		t.Errorf("%d of %d reloads failed", r.ReloadsFailed, r.Reloads)
	}
	if r.OOMKills == nil || *r.OOMKills != 0 {
		t.Errorf("kills by the kernel: %s", show(r.OOMKills))
	}
	if r.FreshFailed != 0 || r.FreshOK == 0 {
		t.Errorf("%d fresh requests answered, %d failed: %q", r.FreshOK, r.FreshFailed,
			r.FreshErrors)
	}
	if r.LiveWorkerLost != 0 {
		t.Errorf("the live worker was lost %d times", r.LiveWorkerLost)
	}
}

func show[T any](p *T) string {
	if p == nil {
		return "not known"
	}
	return fmt.Sprint(*p)
}

// stormTable shows storms side by side.
type stormTable []string

func (s *stormTable) add(suite, what string, r stormReport) {
	peak := "not known"
	if r.PeakBytes != nil {
		peak = fmt.Sprintf("%d MiB", *r.PeakBytes/mib)
	}
	*s = append(*s, fmt.Sprintf("%s\t%s\t%d of %d\t%s\t%d of %d\t%d of %d\t%d\t%s", suite, what,
		r.ReloadsFailed, r.Reloads, show(r.OOMKills),
		r.TunnelsAlive, r.TunnelsOpened, r.FreshFailed, r.FreshOK+r.FreshFailed, r.LiveWorkerLost,
		peak))
}

func (s stormTable) log(t *testing.T) {
	w := tabwriter.NewWriter(t.Output(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SUITE\tSTORM\tRELOADS FAILED\tOOM KILLS\tTUNNELS ALIVE\t"+
		"REQUESTS FAILED\tSERVING WORKER LOST\tPEAK")
	for _, line := range s {
		fmt.Fprintln(w, line)
	}
	w.Flush()
}

// Purging alone is enough: no tunnel is lost.
func TestCacheStorm(t *testing.T) {
	m := runStorm(t, "", `
systemctl start hapressure
./storm --kind cache --out /out/storm.json
systemctl stop hapressure
# What was recorded is what the policy decides again.
hapressure replay /var/lib/hapressure/recordings/haproxy.service/*
`)
	m.storm.serves(t)
	if m.storm.TunnelsOpened != 160 || m.storm.TunnelsAlive != 160 {
		t.Errorf("%d of %d tunnels are alive, want 160 of 160", m.storm.TunnelsAlive,
			m.storm.TunnelsOpened)
	}
	if peak := m.storm.PeakBytes; peak == nil || *peak > 900*mib {
		t.Errorf("peak of %s bytes, want at most 900 MiB", show(peak))
	}
	purges := m.actions(policy.PurgeSSLCache)
	if len(purges) == 0 {
		t.Error("nothing was purged")
	}
	for _, e := range purges {
		if freed := number(t, e, "HAPRESSURE_FREED_BYTES"); freed < 230*mib {
			t.Errorf("a purge freed %d bytes only", freed)
		}
	}
	for _, kind := range []string{policy.HardStopAfter, policy.TerminateOldest} {
		if n := len(m.actions(kind)); n != 0 {
			t.Errorf("%s was done %d times", kind, n)
		}
	}
}

// drainLate is the default policy with a hard-stop-after of one minute that is not
// shortened further. The first reloads of the heap storm come slowly enough for it. The
// last ones come too fast: draining alone is not enough for them.
const drainLate = `version: 1
tiers:
  - name: purge
    enter: {reload-room: {below: 2}}
    leave: {reload-room: {above: 3}, for: 30s}
    actions: [purge-ssl-cache: {}]
  - name: shorten
    enter: {reload-room: {below: 1.5}, for: 3s}
    leave: {reload-room: {above: 2}, for: 2m}
    actions: [hard-stop-after: {limit: 60s, spread: 5s}]
  - name: terminate
    enter: {any: [{usage: {above: 95%}}, {reload-room: {below: 1}, for: 2s}]}
    leave: {usage: {below: 85%}, for: 60s}
    settle: 2s
    actions: [terminate-oldest: {grace: 2s, settle: 1s, keep: 0}]
`

// What a purge cannot free makes the other tiers act, in order, on the oldest first.
func TestHeapStorm(t *testing.T) {
	late, size := drainLate, ""
	if !everything() {
		// Workers of a fifth of the size, in a quarter of the room: a worker's own memory
		// does not shrink with its cache and map. Reloads take 3 s, so drains must take
		// less than usual: terminate waits for them. With less time between the first
		// reloads too few workers would be drained before the last ones.
		late = strings.Replace(drainLate, "spread: 5s", "spread: 1s", 1)
		size = " --cache-size 200000 --heap-mib 5 --limit 275M --settle 10s"
	}
	m := runStorm(t, late,
		"systemctl start hapressure; ./storm --kind heap --out /out/storm.json"+size)
	m.storm.serves(t)
	var order []string
	for _, e := range m.of(controller.Action.ID(), "", "") {
		if kind := e["HAPRESSURE_ACTION"]; !slices.Contains(order, kind) {
			order = append(order, kind)
		}
	}
	if want := []string{policy.PurgeSSLCache, policy.HardStopAfter,
		policy.TerminateOldest}; !slices.Equal(order, want) {
		t.Errorf("actions began in the order %v, want %v", order, want)
	}
	for _, kind := range []string{policy.HardStopAfter, policy.TerminateOldest} {
		last := 0
		for _, e := range m.actions(kind) {
			g := number(t, e, "HAPRESSURE_GENERATION")
			if g < last {
				t.Errorf("%s on generation %d came after that on generation %d", kind, g, last)
			}
			last = g
		}
	}
	// The storm numbers the generations from 1, too. Its last two were never the oldest.
	for g := m.storm.Reloads; g <= m.storm.Reloads+1; g++ {
		if n := m.storm.BrokenByGeneration[fmt.Sprint(g)]; n != 0 {
			t.Errorf("%d tunnels of generation %d broke", n, g)
		}
	}
}

// Maps and certificates fill each worker, so there is next to nothing to purge. Without
// swap the oldest workers are drained or ended. With zram their memory goes there first.
// What the kernel must kill meanwhile is an old worker, which protect has marked.
func TestMapStorm(t *testing.T) {
	// A third of the size and of the room: an emulated machine takes minutes to load
	// 290 MiB.
	m := runStorm(t, "", `
map='--kind map --heap-mib 95 --certificates 60 --limit 440M'
mkdir -p /etc/systemd/system/haproxy.service.d
printf '[Service]\nOOMPolicy=continue\n' >/etc/systemd/system/haproxy.service.d/oom.conf
systemctl daemon-reload
modprobe zram
echo 2G >/sys/block/zram0/disksize
mkswap /dev/zram0 >/dev/null
./storm $map --out /out/without.json
./storm $map --hard-stop-after 30s --out /out/hard-stop.json
systemctl start hapressure
./storm $map --out /out/storm.json
swapon /dev/zram0
./storm $map --swap infinity --out /out/zram.json
cat /sys/block/zram0/mm_stat
journalctl -k -o cat | grep -i 'killed process' || true
`)
	zram := m.report(t, "zram.json")
	var storms stormTable
	for _, name := range []string{"without", "hard-stop", "storm", "zram"} {
		storms.add("", name, m.report(t, name+".json"))
	}
	storms.log(t)
	for name, r := range map[string]stormReport{"without swap": m.storm, "with zram": zram} {
		if r.ReloadsFailed != 0 || r.LiveWorkerLost != 0 || r.FreshFailed != 0 {
			t.Errorf("%s %d reloads and %d requests failed, and the worker that serves was lost "+
				"%d times", name, r.ReloadsFailed, r.FreshFailed, r.LiveWorkerLost)
		}
	}
	if zram.TunnelsBroken > m.storm.TunnelsBroken {
		t.Errorf("%d tunnels were cut with zram, and %d without", zram.TunnelsBroken,
			m.storm.TunnelsBroken)
	}
	if without := m.report(t, "without.json"); without.ReloadsFailed == 0 {
		t.Error("no reload failed without hapressure: the storm shows nothing")
	}
}

// Reloads faster than anything drains.
func TestFloodStorm(t *testing.T) {
	m := runStorm(t, "", `systemctl start hapressure; ./storm --kind flood --reloads 8 --out /out/storm.json`)
	if m.storm.FreshFailed != 0 || m.storm.FreshOK == 0 {
		t.Errorf("%d fresh requests answered, %d failed: %q", m.storm.FreshOK, m.storm.FreshFailed,
			m.storm.FreshErrors)
	}
	if m.storm.LiveWorkerLost != 0 {
		t.Errorf("the live worker was lost %d times", m.storm.LiveWorkerLost)
	}
}

// A policy that terminates whatever it may, all the time.
const terminateAlways = `version: 1
tiers:
  - name: terminate
    enter: always
    actions:
      - terminate-oldest: {grace: 2s, settle: 1s, keep: 0}
`

// After a failed reload the live worker may be listed as an old one. It stays.
func TestFailedReloadKeepsTheLiveWorker(t *testing.T) {
	m := runStorm(t, terminateAlways,
		`systemctl start hapressure; ./storm --kind cache --reloads 3 --tunnels 5 --break-config-at 2 --limit 600M --out /out/storm.json`)
	m.storm.serves(t)
	if len(m.actions(policy.TerminateOldest)) == 0 {
		t.Error("no stopping worker was terminated: the policy was not in force")
	}
}

// Reloads by -sf: purging alone is enough, and no tunnel is lost. A policy that
// terminates whatever it may never ends the process that serves.
func TestStormWithoutMaster(t *testing.T) {
	m := runStorm(t, "", "TERMINATE='"+terminateAlways+"'"+`
systemctl start hapressure
./storm --kind cache --no-master --out /out/storm.json
hapressure status
hapressure doctor || true
systemctl stop hapressure
./storm --kind cache --no-master --out /out/without.json
printf '%s' "$TERMINATE" >/etc/hapressure/policy.yaml
systemctl start hapressure
./storm --kind cache --no-master --reloads 4 --tunnels 5 --out /out/terminate.json
`)
	m.storm.serves(t)
	m.report(t, "terminate.json").serves(t)
	if n := len(m.actions(policy.TerminateOldest)); n < 3 {
		t.Errorf("%d processes were terminated of 4 that stopped", n)
	}
	var storms stormTable
	storms.add("", "-sf, hapressure", m.storm)
	storms.add("", "-sf, without", m.report(t, "without.json"))
	storms.log(t)
	if m.storm.TunnelsOpened != 160 || m.storm.TunnelsAlive != 160 {
		t.Errorf("%d of %d tunnels are alive, want 160 of 160", m.storm.TunnelsAlive,
			m.storm.TunnelsOpened)
	}
	if len(m.actions(policy.PurgeSSLCache)) == 0 {
		t.Error("nothing was purged")
	}
}

// protectOnly frees nothing, so the kernel has to kill.
const protectOnly = `version: 1
tiers: [{name: protect, enter: always, actions: [protect: {}]}]
`

// If the kernel must kill, it takes the oldest stopping worker: reloads succeed, and the
// worker that serves goes on.
func TestKernelTakesTheOldestWorker(t *testing.T) {
	m := runStorm(t, protectOnly, `
mkdir -p /etc/systemd/system/haproxy.service.d
printf '[Service]\nOOMPolicy=continue\n' >/etc/systemd/system/haproxy.service.d/oom.conf
systemctl daemon-reload
./storm --kind cache --out /out/without.json
systemctl start hapressure
./storm --kind cache --out /out/storm.json
journalctl -k -o cat | grep -i 'out of memory' || true
`)
	without := m.report(t, "without.json")
	var storms stormTable
	storms.add("", "without", without)
	storms.add("", "protect", m.storm)
	storms.log(t)
	if without.ReloadsFailed == 0 || m.storm.OOMKills == nil || *m.storm.OOMKills == 0 {
		t.Fatal("memory did not run out: the storm shows nothing")
	}
	if m.storm.ReloadsFailed != 0 || m.storm.LiveWorkerLost != 0 || m.storm.FreshFailed != 0 {
		t.Errorf("with protect %d reloads and %d requests failed, and the worker that serves "+
			"was lost %d times", m.storm.ReloadsFailed, m.storm.FreshFailed, m.storm.LiveWorkerLost)
	}
	if n := len(m.actions(policy.Protect)); n < m.storm.Reloads {
		t.Errorf("protect was done %d times, and %d workers stopped", n, m.storm.Reloads)
	}
}

// RHEL's unit starts HAProxy without a CLI of the master (-S), so every action goes
// around it, and its kernel has pressure figures off.
func TestHAProxyAsOnRHEL(t *testing.T) {
	const (
		drain = `version: 1
tiers:
  - name: shorten
    enter: always
    actions: [hard-stop-after: {limit: 2s}]
`
		script = `
mkdir -p /etc/systemd/system/haproxy.service.d
cat >/etc/systemd/system/haproxy.service.d/rhel.conf <<END
[Service]
ExecStart=
ExecStart=/usr/sbin/haproxy -Ws -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/conf.d -p /run/haproxy.pid
END
mkdir -p /etc/haproxy/conf.d
systemctl daemon-reload
now() { # POLICY: in force from here on
  printf '%s' "$1" >/etc/hapressure/policy.yaml
  systemctl reload hapressure
}
systemctl start hapressure
./storm --no-cli --reloads 3 --tunnels 5 --limit 1100M --out /out/built-in.json
haproxy -v | head -n 1
tr '\0' ' ' <"/proc/$(systemctl show -P MainPID haproxy)/cmdline"; echo
hapressure workers
now "$DRAIN"
./storm --no-cli --reloads 2 --tunnels 5 --limit 1100M --settle 15s --out /out/shorten.json
now "$TERMINATE"
./storm --no-cli --reloads 2 --tunnels 5 --limit 1100M --settle 10s --out /out/terminate.json
`
	)
	var storms stormTable
	for _, suite := range suites() {
		t.Run(suite, func(t *testing.T) {
			spec := specOf(suite)
			spec.Kernel, spec.Timeout = "psi=0", 20*time.Minute
			m := runOn(t, spec, "",
				fmt.Sprintf("DRAIN='%s'\nTERMINATE='%s'\n", drain, terminateAlways)+script)
			for _, c := range [][2]string{
				{"built-in", policy.PurgeSSLCache}, {"shorten", policy.HardStopAfter},
				{"terminate", policy.TerminateOldest},
			} {
				name, kind := c[0], c[1]
				storm := m.report(t, name+".json")
				storms.add(suite, name, storm)
				storm.serves(t)
				if name == "built-in" && storm.TunnelsAlive != storm.TunnelsOpened {
					t.Errorf("%d of %d tunnels are alive", storm.TunnelsAlive, storm.TunnelsOpened)
				}
				if n := len(m.actions(kind)); n < 2 {
					t.Errorf("%s was done %d times", kind, n)
				}
			}
			if len(m.of(controller.SensorMissing.ID(), "HAPRESSURE_SENSOR",
				"memory.pressure")) == 0 {
				t.Error("no entry says that pressure figures are off")
			}
		})
	}
	storms.log(t)
}

// hapressure is killed again and again. HAProxy does not notice, and what hapressure
// was there for is done all the same.
func TestKilledAtAnyTime(t *testing.T) {
	m := runStorm(t, "", `
systemctl start hapressure
(while sleep 10; do systemctl kill --signal=KILL hapressure || true; done) &
killer=$!
./storm --kind cache --reloads 5 --interval 6s --out /out/storm.json
kill $killer
systemctl is-active hapressure || systemctl start hapressure
`)
	m.storm.serves(t)
	if m.storm.TunnelsAlive != m.storm.TunnelsOpened {
		t.Errorf("%d of %d tunnels are alive", m.storm.TunnelsAlive, m.storm.TunnelsOpened)
	}
	if n := len(m.of(controller.Started.ID(), "", "")); n < 5 {
		t.Errorf("hapressure started %d times only: it was not killed", n)
	}
}

// The other policies that come with the package, each with what it promises. With room
// for everything, proactive purges all the same.
func TestReadyPoliciesInGuest(t *testing.T) {
	proactive, err := os.ReadFile("../../packaging/policies/proactive.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := runStorm(t, string(proactive), `
systemctl start hapressure
./storm --kind cache --reloads 3 --tunnels 5 --limit 2G --out /out/storm.json
install -m 644 gentle.yaml /etc/hapressure/policy.yaml
systemctl restart hapressure
./storm --kind cache --reloads 4 --tunnels 5 --out /out/gentle.json
`)
	if n := len(m.actions(policy.PurgeSSLCache)); n < 3 {
		t.Errorf("%d purges of 3 stopping workers and more", n)
	}
	for _, kind := range []string{policy.HardStopAfter, policy.TerminateOldest} {
		if n := len(m.actions(kind)); n != 0 {
			t.Errorf("%s was done %d times", kind, n)
		}
	}
	for name, storm := range map[string]stormReport{"proactive": m.storm,
		"gentle": m.report(t, "gentle.json")} {
		storm.serves(t)
		if storm.TunnelsAlive != storm.TunnelsOpened {
			t.Errorf("%s: %d of %d tunnels are alive", name, storm.TunnelsAlive,
				storm.TunnelsOpened)
		}
	}
}
