package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"hapressure/tests/guest"
)

// fault is one row of the matrix. What makes it and what ends it is in
// faults/faults.sh, under its name.
type fault struct {
	name     string
	short    bool     // done in every run of the tests, for it is quick and tells much
	restarts bool     // hapressure itself is started again
	ends     string   // what of HAProxy the fault itself ends, with the tunnels there are: oldWorker, all, or nothing
	says     []string // by hapressure in the journal, or by systemd of it
}

const (
	oldWorker = "the old worker"
	all       = "all"
)

// How hapressure finds units, as it reports a change of it.
const (
	toSocket = "Finding units by systemd's private socket instead of D-Bus: connecting to systemd over D-Bus: "
	toTree   = "Finding units by the cgroup tree instead of D-Bus: connecting to systemd over D-Bus: "
	toBus    = "Finding units by D-Bus instead of"
)

var faults = []fault{
	{name: "daemon-killed", restarts: true, says: []string{"status=9/KILL"}},
	{name: "daemon-stopped", restarts: true, says: []string{"Watchdog timeout"}},
	{name: "daemon-out-of-memory", restarts: true, says: []string{"oom-kill"}},
	{name: "worker-killed-old", ends: oldWorker},
	{name: "worker-pid-reused", restarts: true, ends: oldWorker,
		says: []string{"Guarding haproxy.service"}},
	{name: "worker-killed-serving", ends: all,
		says: []string{"No longer guarding haproxy.service", "Guarding haproxy.service"}},
	{name: "master-killed", ends: all,
		says: []string{"No longer guarding haproxy.service", "Guarding haproxy.service"}},
	{name: "haproxy-restarted", ends: all,
		says: []string{"No longer guarding haproxy.service", "Guarding haproxy.service"}},
	{name: "haproxy-stopped", ends: all,
		says: []string{"No longer guarding haproxy.service", "Guarding haproxy.service"}},
	{name: "worker-hung", restarts: true},
	{name: "haproxy-frozen", restarts: true},
	{name: "cli-gone", restarts: true, short: true},
	{name: "master-hung", restarts: true},
	{name: "policy-broken", says: []string{"The policy in force stays: ", "Now in force: "}},
	{name: "policy-broken-at-start", restarts: true,
		says: []string{"the policy has mistakes",
			"started with the policy /etc/hapressure/policy.yaml, as it was last in force"}},
	{name: "policy-always-broken", restarts: true, says: []string{"the policy has mistakes"}},
	{name: "policy-removed", says: []string{"Now in force: the built-in policy"}},
	{name: "policy-a-folder", says: []string{"The policy in force stays: "}},
	{name: "var-full", restarts: true,
		says: []string{"Recording of haproxy.service stopped", "no space left on device"}},
	{name: "run-full", restarts: true,
		says: []string{"State of haproxy.service is not persisted", "no space left on device"}},
	{name: "journald-stopped", short: true},
	{name: "journald-hung"},
	{name: "dbus-stopped", short: true,
		says: []string{"Cannot read systemd, continuing without it", toSocket,
			toBus + " systemd's private socket"}},
	{name: "dbus-hung", says: []string{"Cannot read systemd, continuing without it",
		"no answer within 25s", toSocket, toBus + " systemd's private socket"}},
	{name: "dbus-late", restarts: true,
		says: []string{toSocket, toBus + " systemd's private socket"}},
	{name: "systemd-gone", restarts: true, says: []string{toTree, toBus + " the cgroup tree"}},
	{name: "clock-set-back"},
	{name: "pressure-off",
		says: []string{"Cannot read memory.pressure of haproxy.service",
			"Cannot read wake-up by memory.pressure"}},
	{name: "swap-full", says: []string{"page-out on worker"}},
}

// chosen are the faults to make: HAPRESSURE_FAULTS is "all", or names; else the short
// ones.
func chosen() []fault {
	want := strings.Fields(os.Getenv("HAPRESSURE_FAULTS"))
	return slices.DeleteFunc(slices.Clone(faults), func(f fault) bool {
		return !slices.Contains(want, "all") && !slices.Contains(want, f.name) &&
			(len(want) > 0 || !f.short)
	})
}

// verdict is what came of a fault, as `make faults` leaves it.
type verdict struct {
	Fault    string      `json:"fault"`
	OK       bool        `json:"ok"`
	InVain   string      `json:"in_vain,omitempty"` // what was waited for and did not come
	Journal  []string    `json:"journal"`
	Storm    stormReport `json:"storm"`
	Purges   int         `json:"purges"`
	Restarts int         `json:"restarts"`
}

// Whatever breaks, nothing of HAProxy is lost that the fault itself did not end, and
// hapressure is back at work when it is over.
func TestFaults(t *testing.T) {
	var names []string
	for _, f := range chosen() {
		names = append(names, f.name)
	}
	m := runOn(t, guest.Spec{Suite: "trixie", Timeout: 80 * time.Minute}, "",
		"bash faults.sh "+strings.Join(names, " "))
	var verdicts []verdict
	for _, f := range chosen() {
		t.Run(f.name, func(t *testing.T) {
			v, err := f.read(m.Dir)
			if err != nil {
				t.Fatal(err)
			}
			f.judge(t, v)
			v.OK = !t.Failed()
			verdicts = append(verdicts, v)
		})
	}
	table(t, verdicts)
	if out := os.Getenv("HAPRESSURE_FAULTS_OUT"); out != "" {
		b, err := json.MarshalIndent(verdicts, "", "  ")
		if err == nil {
			err = os.WriteFile(out, b, 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// read reads what the guest left of a fault.
func (f fault) read(dir string) (verdict, error) {
	v := verdict{Fault: f.name}
	journal, err := os.ReadFile(filepath.Join(dir, f.name+".journal"))
	if err != nil {
		return v, err
	}
	v.Journal = strings.Split(strings.TrimSpace(string(journal)), "\n")
	v.Purges = strings.Count(string(journal), ": freed ")
	v.Restarts = strings.Count(string(journal), " started with ")
	failed, err := os.ReadFile(filepath.Join(dir, f.name+".failed"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return v, err
	}
	v.InVain = string(failed)
	storm, err := os.ReadFile(filepath.Join(dir, f.name+".json"))
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(storm, &v.Storm)
}

func (f fault) judge(t *testing.T, v verdict) {
	t.Helper()
	if v.InVain != "" {
		t.Error(v.InVain)
	}
	for _, want := range f.says {
		if !slices.ContainsFunc(v.Journal,
			func(line string) bool { return strings.Contains(line, want) }) {
			t.Errorf("the journal lacks %q", want)
		}
	}
	if f.restarts != (v.Restarts > 0) {
		t.Errorf("hapressure was started %d times", v.Restarts)
	}
	s := v.Storm
	if s.ReloadsFailed != 0 {
		t.Errorf("%d of %d reloads failed: %q", s.ReloadsFailed, s.Reloads, s.ReloadErrors)
	}
	for g, n := range s.BrokenByGeneration {
		if f.ends == "" || g != "1" { // others were opened later
			t.Errorf("%d tunnels of generation %s broke", n, g)
		}
	}
	if f.ends != all {
		s.serves(t)
	}
	if t.Failed() {
		t.Logf("the journal:\n%s", strings.Join(v.Journal, "\n"))
	}
}

func table(t *testing.T, verdicts []verdict) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tVERDICT\tRELOADS FAILED\tTUNNELS ALIVE\tREQUESTS FAILED\tSERVING WORKER LOST\tPURGES\tRESTARTS")
	for _, v := range verdicts {
		what := "ok"
		if !v.OK {
			what = "FAILED"
		}
		s := v.Storm
		fmt.Fprintf(w, "%s\t%s\t%d of %d\t%d of %d\t%d of %d\t%d\t%d\t%d\n", v.Fault, what,
			s.ReloadsFailed, s.Reloads, s.TunnelsAlive, s.TunnelsOpened,
			s.FreshFailed, s.FreshOK+s.FreshFailed, s.LiveWorkerLost, v.Purges, v.Restarts)
	}
	w.Flush()
	t.Logf("\n%s", b.String())
}
