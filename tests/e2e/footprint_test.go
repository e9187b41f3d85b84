package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hapressure/controller"
	"hapressure/policy"
)

// measure is a shell function that writes what hapressure uses to /out under a name, as
// key=value.
const measure = `
measure() {
  local pid; pid=$(systemctl show -P MainPID hapressure)
  local group=/sys/fs/cgroup/hapressure.slice/hapressure.service
  {
    echo usec="$(awk '$1 == "usage_usec" {print $2}' $group/cpu.stat)"
    awk '/^(VmRSS|RssAnon|RssFile|VmLck):/ {print substr($1, 1, length($1) - 1) "=" $2}' "/proc/$pid/status"
    cat /proc/$pid/task/*/status | awk '$1 == "voluntary_ctxt_switches:" {n += $2} END {print "switches=" n}'
    echo faults="$(awk '{print $12}' "/proc/$pid/stat")"
    echo current="$(cat $group/memory.current)"; echo peak="$(cat $group/memory.peak)"
    awk '{print "events." $1 "=" $2}' $group/memory.events
    echo restarts="$(systemctl show -P NRestarts hapressure)"
    awk '{print "uptime_ms=" $1 * 1000}' /proc/uptime
  } > "/out/$1"
}
`

// measured reads what measure wrote.
func (m machine) measured(t *testing.T, name string) map[string]int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]int{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		var n int
		if _, err := fmt.Sscan(value, &n); err != nil {
			t.Fatalf("parsing %q: %v", line, err)
		}
		values[key] = n
	}
	t.Logf("%s: %v", name, values)
	return values
}

// What the daemon holds after a storm, and what it uses while nothing happens. Its use
// of the CPU is only logged: an emulated one is many times slower. make bench has that
// of a real one.
func TestFootprint(t *testing.T) {
	m := runStorm(t, "", measure+`
echo always > /sys/kernel/mm/transparent_hugepage/enabled
systemctl start hapressure
./storm --kind cache --reloads 3 --tunnels 5 --limit 900M --settle 4m --out /out/storm.json &
storm=$!
logged() { # HOW OFTEN WHAT
  until [ "$(journalctl -t hapressure -o cat | grep -c "$2")" -ge "$1" ]; do
    kill -0 $storm
    sleep 1
  done
}
logged 3 '^purge-ssl-cache on worker .* freed'
measure storm
systemctl set-property --runtime haproxy.service MemoryMax=4G # with less than four footprints the tier is held for good
logged 1 '^Back to tier protect'
sleep 30 # until all is still
measure before
sleep 60
measure after
wait $storm
`)
	m.storm.serves(t)
	storm, before, after := m.measured(t, "storm"), m.measured(t, "before"), m.measured(t, "after")
	if kib := after["VmRSS"]; kib > 16<<10 {
		t.Errorf("%d KiB are resident after the storm, want at most 16 MiB", kib)
	}
	for when, used := range map[string]map[string]int{"storm": storm, "calm": after} {
		if used["VmLck"] == 0 {
			t.Errorf("%s: nothing is locked", when)
		}
	}
	seconds := float64(after["uptime_ms"]-before["uptime_ms"]) / 1000
	t.Logf("in %.0f s of calm: %.2f %% of an emulated core, %.1f switches a second", seconds,
		float64(after["usec"]-before["usec"])/1e4/seconds,
		float64(after["switches"]-before["switches"])/seconds)
}

// While something else takes all the host's memory, again and again until the kernel
// kills it, and all its CPUs, hapressure does what it is there for, and is neither
// killed nor found dead by its watchdog.
func TestActsWhileTheHostThrashes(t *testing.T) {
	m := runStorm(t, "", measure+`
systemctl start hapressure
for i in 1 2; do systemd-run --unit=spin$i sh -c 'while :; do :; done'; done
systemd-run --unit=hog -p OOMScoreAdjust=1000 -p OOMPolicy=continue sh -c 'while :; do head -c 8g /dev/zero | tail > /dev/null; done'
./storm --kind cache --reloads 4 --tunnels 5 --limit 900M --out /out/storm.json
measure after
grep -E '^(oom_kill|allocstall|pgmajfault|workingset_refault_file) ' /proc/vmstat
systemctl stop hog spin1 spin2
systemctl is-active hapressure
`)
	after := m.measured(t, "after")
	if after["restarts"] != 0 || after["events.oom_kill"] != 0 ||
		len(m.of(controller.Started.ID(), "", "")) != 1 {
		t.Error("hapressure was killed, or hung")
	}
	if n := len(m.actions(policy.PurgeSSLCache)); n < 3 {
		t.Errorf("%d purges in 4 reloads", n)
	}
	if m.storm.LiveWorkerLost != 0 {
		t.Errorf("the live worker was lost %d times", m.storm.LiveWorkerLost)
	}
}
