package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hapressure/cgroup"
	"hapressure/haproxy"
	"hapressure/haproxy/shctx"
	"hapressure/policy"
	"hapressure/policy/language"
	"hapressure/systemd"
	"hapressure/tests/cgrouptest"
	"hapressure/tests/haproxytest"
)

const (
	group     = "/system.slice/haproxy.service"
	cacheSize = 50_000 // blocks of 248 bytes: 12 MiB a worker
)

// recorder is a journal that tests wait on.
type recorder struct {
	mu      sync.Mutex
	entries []systemd.Entry
	more    chan struct{}
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{}, 1)} }

// Send fails the test, by a panic, if the entry has a field that its kind does not have.
func (r *recorder) Send(e systemd.Entry) error {
	k := Kind(slices.IndexFunc(kinds[:], func(row kindRow) bool { return row.id == e.MessageID }))
	for name := range e.Fields {
		if !slices.Contains(fieldsOf(k), strings.TrimPrefix(name, FieldPrefix)) {
			panic(kinds[k].name + " has no field " + name)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	select {
	case r.more <- struct{}{}:
	default:
	}
	return nil
}

func (r *recorder) all(match func(systemd.Entry) bool) []systemd.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []systemd.Entry
	for _, e := range r.entries {
		if match(e) {
			found = append(found, e)
		}
	}
	return found
}

// wait waits until n entries match, and returns them.
func (r *recorder) wait(t *testing.T, what string, n int, match func(systemd.Entry) bool) []systemd.Entry {
	t.Helper()
	deadline := time.After(haproxytest.Deadline)
	for {
		if found := r.all(match); len(found) >= n {
			return found
		}
		select {
		case <-r.more:
		case <-deadline:
			for _, e := range r.all(func(systemd.Entry) bool { return true }) {
				t.Logf("journal: %s", e.Message)
			}
			t.Fatalf("waiting for %s", what)
		}
	}
}

func action(kind string) func(systemd.Entry) bool {
	return func(e systemd.Entry) bool {
		return e.Fields["HAPRESSURE_ACTION"] == kind && e.Fields["HAPRESSURE_RESULT"] == "done"
	}
}

func kind(k Kind) func(systemd.Entry) bool {
	return func(e systemd.Entry) bool { return e.MessageID == k.ID() }
}

// fakeUnits is a systemd whose one unit tests start and stop: there is none on a build
// machine.
type fakeUnits struct {
	mu           sync.Mutex
	name, cgroup string
	changes      chan string

	signals []tierSignal
	hooks   []systemd.Transient
	hang    bool // hooks do not end, but with their context
	fail    error
}

func (f *fakeUnits) ControlGroup(_ context.Context, name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.name != name {
		return "", systemd.ErrNoUnit
	}
	return f.cgroup, nil
}

func (f *fakeUnits) Match(context.Context, string) ([]string, error) {
	return []string{f.name}, nil
}

func (f *fakeUnits) Changes(context.Context) (<-chan string, error) { return f.changes, nil }
func (f *fakeUnits) OwnName(context.Context, string) error          { return nil }
func (f *fakeUnits) Close()                                         {}

func (f *fakeUnits) Emit(path, signal string, v ...any) error {
	if path != "/org/hapressure1" || signal != "org.hapressure1.Monitor.TierChanged" {
		return fmt.Errorf("the signal is %s of %s", signal, path)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signals = append(f.signals, tierSignal{v[0].(string), v[1].(string), v[2].(string), v[3].(string), v[4].(uint64), v[5].(uint64)})
	return nil
}

func (f *fakeUnits) RunTransient(ctx context.Context, h systemd.Transient) error {
	f.mu.Lock()
	f.hooks = append(f.hooks, h)
	hang, err := f.hang, f.fail
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// sent returns the signals and the hooks so far.
func (f *fakeUnits) sent() ([]tierSignal, []systemd.Transient) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.signals), slices.Clone(f.hooks)
}

func (f *fakeUnits) set(cgroup string) {
	f.mu.Lock()
	f.cgroup = cgroup
	f.mu.Unlock()
	f.changes <- f.name
}

// world is a controller at work on a real HAProxy, in a cgroup that is made of plain
// files.
type world struct {
	*haproxytest.HAProxy
	t       *testing.T
	tree    cgrouptest.Tree
	units   *fakeUnits
	journal *recorder
}

// newWorld starts HAProxy in a group with the given files; guard sets the controller to
// work on it.
func newWorld(t *testing.T, conf haproxytest.Config, files map[string]string) *world {
	conf.CacheSize = cacheSize
	return worldOf(t, haproxytest.Start(t, conf), files)
}

// worldOf is newWorld with a HAProxy that runs already.
func worldOf(t *testing.T, h *haproxytest.HAProxy, files map[string]string) *world {
	w := &world{HAProxy: h, t: t, tree: cgrouptest.New(t), journal: newRecorder()}
	w.units = &fakeUnits{name: "haproxy.service", cgroup: group, changes: make(chan string)}
	w.tree.Group(group, files)
	w.listProcs()
	return w
}

// listProcs does what the kernel does by itself in a real cgroup.
func (w *world) listProcs() {
	var s strings.Builder
	for _, pid := range w.Pids() {
		fmt.Fprintln(&s, pid)
	}
	w.tree.Write(group, "cgroup.procs", s.String())
}

// reload makes a new generation beside the old one, which has a tunnel.
func (w *world) reload() net.Conn {
	w.t.Helper()
	c := w.Tunnel()
	w.Reload()
	w.listProcs()
	return c
}

func (w *world) guard(text string, dryRun bool) *Controller {
	w.t.Helper()
	c, _ := w.guardWith(text, Config{DryRun: dryRun})
	return c
}

// guardWith is guard with more to say; stop ends it.
func (w *world) guardWith(text string, conf Config) (c *Controller, stop func()) {
	w.t.Helper()
	conf.Policy, conf.Procfs, conf.Cgroups, conf.Journal = decode(w.t, text), "/proc", w.tree.Mount, w.journal
	if conf.Ways == nil {
		conf.Ways = []Way{{Name: "D-Bus", Connect: func(context.Context) (Units, error) { return w.units, nil }}}
	}
	c = New(conf)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return c, stop
}

func decode(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := language.Decode(language.File{Name: "test.yaml", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const purgeAlways = `version: 1
tiers:
  - name: purge
    enter: always
    actions: [purge-ssl-cache: {}]
`

func TestPurgesWhatStops(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	w.guard(purgeAlways, false)
	w.journal.wait(t, "the target", 1, kind(TargetFound))
	var tunnels []net.Conn
	for i := range 3 {
		tunnels = append(tunnels, w.reload())
		entries := w.journal.wait(t, "a purge", i+1, action(policy.PurgeSSLCache))
		e := entries[i]
		if e.MessageID != Action.ID() {
			t.Errorf("MESSAGE_ID %s", e.MessageID)
		}
		if n, err := strconv.Atoi(e.Fields["HAPRESSURE_FREED_BYTES"]); err != nil || n < cacheSize*248-64<<10 {
			t.Errorf("HAPRESSURE_FREED_BYTES=%s", e.Fields["HAPRESSURE_FREED_BYTES"])
		}
		if e.Fields["HAPRESSURE_TARGET"] != "haproxy.service" || e.Fields["HAPRESSURE_GENERATION"] != strconv.Itoa(i+1) ||
			e.Fields["HAPRESSURE_REASON"] == "" || e.Fields["HAPRESSURE_WORKER_PID"] == "" {
			t.Errorf("fields %v", e.Fields)
		}
	}
	for i, c := range tunnels {
		if err := haproxytest.Echo(c); err != nil {
			t.Errorf("tunnel of generation %d: %v", i+1, err)
		}
	}
	if n := len(w.journal.all(action(policy.PurgeSSLCache))); n != 3 {
		t.Errorf("%d purges of 3 workers", n)
	}
}

// Usage decides; the limit is an ancestor's.
func TestTierFollowsUsage(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, map[string]string{"memory.current": "50000000\n"})
	w.tree.Write("/system.slice", "memory.max", "1000000000\n")
	w.tree.Write("/system.slice", "memory.current", "500000000\n")
	w.guard(`version: 1
tiers:
  - name: purge
    enter: {any: [{usage: {above: 70%}}]}
    leave: {all: [{usage: {below: 60%}}]}
    actions: [purge-ssl-cache: {}]
`, false)
	w.reload()
	w.tree.Write("/system.slice", "memory.current", "800000000\n")
	up := w.journal.wait(t, "the tier", 1, kind(TierChanged))[0]
	if up.Fields["HAPRESSURE_TIER"] != "purge" || !strings.Contains(up.Fields["HAPRESSURE_REASON"], "80% > 70%") ||
		!strings.Contains(up.Message, "of memory.max of "+
			"/system.slice") || up.Fields["HAPRESSURE_USAGE_LIMIT"] != "/system.slice memory.max" ||
		up.Fields["HAPRESSURE_USAGE_LIMIT_BYTES"] != "1000000000" || up.Fields["HAPRESSURE_USAGE_LIMIT_USED_BYTES"] != "800000000" ||
		up.Fields["HAPRESSURE_LIMIT"] != "/system.slice memory.max" {
		t.Errorf("change of tier: %q %v", up.Message, up.Fields)
	}
	w.journal.wait(t, "a purge", 1, action(policy.PurgeSSLCache))
	w.tree.Write("/system.slice", "memory.current", "100000000\n")
	down := w.journal.wait(t, "the way down", 2, kind(TierChanged))[1]
	if down.Fields["HAPRESSURE_TIER"] != "none" || down.Fields["HAPRESSURE_TIER_FROM"] != "purge" {
		t.Errorf("change of tier: %q %v", down.Message, down.Fields)
	}
}

// Others use up the memory of a slice, beside a HAProxy that is far from its own limit
// and holds little: the caches of its stopping workers are purged, and their connections
// stay. At its own limit they do not.
func TestConnectionsAreNotCutForMemoryOfOthers(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, map[string]string{"memory.max": "300000000\n", "memory.current": "33000000\n"})
	w.tree.Write("/system.slice", "memory.max", "2000000000\n")
	w.tree.Write("/system.slice", "memory.current", "1910000000\n")
	tunnel := w.reload()
	c, _ := w.guardWith(`version: 1
tiers:
  - {name: purge, enter: {usage: {above: 70%}}, leave: {usage: {below: 60%}}, actions: [purge-ssl-cache: {}]}
  - name: terminate
    enter: {any: [{usage: {above: 95%}}, {reload-room: {below: 1}}]}
    leave: {usage: {below: 85%}}
    settle: 0s
    actions: [hard-stop-after: {limit: 0s}, terminate-oldest: {grace: 10s, settle: 0s}]
`, Config{})
	withheld := w.journal.wait(t, "what is withheld", 2, kind(Withheld))
	for i, action := range []string{policy.HardStopAfter, policy.TerminateOldest} {
		if e := withheld[i]; e.Fields["HAPRESSURE_ACTION"] != action || e.Fields["HAPRESSURE_LIMIT"] != "/system.slice memory.max" ||
			!strings.Contains(e.Message, "% of memory.max of /system.slice; less than 5% is not "+
				"worth cutting connections for") {
			t.Errorf("%q %v", e.Message, e.Fields)
		}
	}
	up := w.journal.wait(t, "the tier", 1, kind(TierChanged))
	if last := up[len(up)-1]; !strings.Contains(last.Message, "usage 95.5% > 95% of memory.max of "+
		"/system.slice; not met: reload-room ") ||
		!strings.Contains(last.Message, "under memory.max of "+
			"/system.slice") && !strings.Contains(last.Message, "under memory.max") {
		t.Errorf("%q", last.Message)
	}
	w.journal.wait(t, "a purge", 1, action(policy.PurgeSSLCache))
	// A tick publishes what it found after its entries.
	w.Eventually("the status says so", func() error {
		target := c.State(t.Context()).Targets[0]
		if len(target.Withheld) != 2 || target.UsageLimit.Name != "/system.slice memory.max" ||
			target.Limit.Name == "" || !strings.HasPrefix(target.TierLeave, "usage below 85%: ") {
			return fmt.Errorf("%+v", target)
		}
		return nil
	})
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("the tunnel was cut: %v", err)
	}
	if n := len(w.journal.all(kind(Withheld))); n != 2 {
		t.Errorf("reported %d times", n)
	}
	w.tree.Write(group, "memory.current", "299000000\n")
	w.Eventually("its own limit is at hand", func() error {
		if haproxytest.Echo(tunnel) == nil {
			return errors.New("the tunnel is open")
		}
		return nil
	})
}

func TestShortensAndLeavesTheCurrentWorker(t *testing.T) {
	for _, noCLI := range []bool{false, true} {
		t.Run(fmt.Sprintf("noCLI=%v", noCLI), func(t *testing.T) {
			w := newWorld(t, haproxytest.Config{NoCLI: noCLI}, nil)
			old := w.reload()
			young := w.Tunnel()
			w.guard(`version: 1
tiers:
  - name: shorten
    enter: always
    actions: [hard-stop-after: {limit: 1s, floor: 1s, spread: 100ms}]
`, false)
			e := w.journal.wait(t, "the hard stop", 1, action(policy.HardStopAfter))[0]
			if sessions := e.Fields["HAPRESSURE_SESSIONS"]; sessions == "0" {
				t.Errorf("no session was shut down: %q", e.Message)
			}
			if err := haproxytest.Echo(old); err == nil {
				t.Error("the tunnel of the worker that was ended is still open")
			}
			if err := haproxytest.Echo(young); err != nil {
				t.Errorf("tunnel of the current worker: %v", err)
			}
		})
	}
}

// TestDrainsByCost holds that the worker with the fewer connections is drained first,
// although it is the younger one.
func TestDrainsByCost(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	for range 9 {
		w.Tunnel()
	}
	w.reload()
	w.reload()
	w.guard(`version: 1
tiers:
  - name: shorten
    enter: always
    actions: [hard-stop-after: {limit: 1ms, order: bytes-per-connection}]
`, false)
	drains := w.journal.wait(t, "two hard stops", 2, action(policy.HardStopAfter))
	for i, generation := range []string{"2", "1"} {
		if got := drains[i].Fields["HAPRESSURE_GENERATION"]; got != generation {
			t.Errorf("drain %d is of generation %s, want %s", i+1, got, generation)
		}
	}
}

func TestTerminatesTheOldestFirst(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	for range 3 {
		w.reload()
	}
	young := w.Tunnel()
	w.guard(`version: 1
tiers:
  - name: terminate
    enter: always
    settle: 0s
    actions: [terminate-oldest: {grace: 10s, settle: 0s, keep: 1}]
`, false)
	for i, e := range w.journal.wait(t, "two terminations", 2, action(policy.TerminateOldest)) {
		if e.Fields["HAPRESSURE_GENERATION"] != strconv.Itoa(i+1) {
			t.Errorf("termination %d is of generation %s", i+1, e.Fields["HAPRESSURE_GENERATION"])
		}
		w.listProcs()
	}
	if err := haproxytest.Echo(young); err != nil {
		t.Errorf("tunnel of the current worker: %v", err)
	}
	if n := len(w.Children()); n != 2 {
		t.Errorf("%d workers are left, want the current one and the one to keep", n)
	}
}

// A termination that is urgent does not wait for a drain that takes its time.
func TestUrgentTerminationDoesNotWaitForADrain(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, map[string]string{"memory.max": "1000000000\n", "memory.current": "100000000\n"})
	w.Tunnel()
	w.Tunnel()
	w.reload()
	w.guard(`version: 1
tiers:
  - name: shorten
    enter: always
    actions: [hard-stop-after: {limit: 1s, spread: 10m}]
  - name: terminate
    enter: {usage: {above: 90%}}
    leave: {usage: {below: 80%}}
    urgent: true
    settle: 0s
    actions: [terminate-oldest: {grace: 10s, settle: 0s, keep: 0}]
`, false)
	// The first of the three sessions is shut down at once, the next after more than
	// three minutes.
	w.Eventually("the drain has begun", func() error {
		if !w.Ask(fmt.Sprintf("@!%d show info", w.Children()[0]), "\nCurrConns: 2\n") {
			return errors.New("three sessions are left")
		}
		return nil
	})
	w.tree.Write(group, "memory.current", "950000000\n")
	e := w.journal.wait(t, "the termination", 1, action(policy.TerminateOldest))[0]
	if !strings.Contains(e.Message, "SIGTERM") {
		t.Errorf("it was not terminated: %q", e.Message)
	}
}

// Without a master there is no CLI to drain by. The connections live until the next tier
// terminates the old process in its turn.
func TestDrainIsRefusedWithoutMaster(t *testing.T) {
	w := worldOf(t, haproxytest.StartAlone(t, haproxytest.Config{CacheSize: cacheSize}),
		map[string]string{"memory.max": "1000000000\n", "memory.current": "100000000\n"})
	old := w.Tunnel()
	w.LaunchInstead()
	w.listProcs()
	young := w.Tunnel()
	w.guard(`version: 1
tiers:
  - name: shorten
    enter: always
    actions: [hard-stop-after: {limit: 1s}]
  - name: terminate
    enter: {usage: {above: 90%}}
    leave: {usage: {below: 80%}}
    settle: 0s
    actions: [terminate-oldest: {grace: 10s, settle: 0s, keep: 0}]
`, false)
	e := w.journal.wait(t, "the refusal", 1, kind(Refused))[0]
	if e.Fields["HAPRESSURE_ACTION"] != policy.HardStopAfter ||
		!strings.Contains(e.Message, haproxy.ErrNoCLI.Error()) {
		t.Errorf("%q %v", e.Message, e.Fields)
	}
	if err := haproxytest.Echo(old); err != nil {
		t.Errorf("tunnel of the old process: %v", err)
	}
	w.tree.Write(group, "memory.current", "950000000\n")
	w.journal.wait(t, "the termination", 1, action(policy.TerminateOldest))
	if err := haproxytest.Echo(old); err == nil {
		t.Error("the tunnel of the process that was terminated is still open")
	}
	if err := haproxytest.Echo(young); err != nil {
		t.Errorf("tunnel of the process that serves: %v", err)
	}
	if n := len(w.journal.all(kind(Refused))); n != 1 {
		t.Errorf("the drain was refused %d times, want once for good", n)
	}
}

// What stands in the way of a purge may pass.
func TestPurgeIsTriedAgain(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("this test needs strace: %v", err)
	}
	w := newWorld(t, haproxytest.Config{}, nil)
	w.reload()
	cmd := exec.Command(strace, "-f", "-o", "/dev/null", "-p", strconv.Itoa(w.Children()[0]))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Eventually("strace holds the worker", func() error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Children()[0]))
		if err == nil && !strings.Contains(string(b), fmt.Sprintf("TracerPid:\t%d\n", cmd.Process.Pid)) {
			err = errors.New("not yet traced")
		}
		return err
	})
	w.guard(purgeAlways, false)
	e := w.journal.wait(t, "the failure", 1, func(e systemd.Entry) bool { return e.Fields["HAPRESSURE_RESULT"] == "failed" })[0]
	if e.MessageID != Failed.ID() || !strings.Contains(e.Fields["HAPRESSURE_ERROR"], haproxy.ErrCannotStop.Error()) {
		t.Errorf("%q %v", e.Message, e.Fields)
	}
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
	w.journal.wait(t, "a purge", 1, action(policy.PurgeSSLCache))
}

func TestDryRunTouchesNothing(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	tunnel := w.reload()
	w.guard(purgeAlways+`  - name: terminate
    enter: always
    actions: [terminate-oldest: {grace: 1s, settle: 0s, keep: 0}]
`, true)
	for _, k := range []string{policy.PurgeSSLCache, policy.TerminateOldest} {
		w.journal.wait(t, "what it would do", 1, func(e systemd.Entry) bool {
			return e.Fields["HAPRESSURE_ACTION"] == k && e.Fields["HAPRESSURE_RESULT"] == "skipped"
		})
	}
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel: %v", err)
	}
	found, err := haproxy.NewScanner("/proc").Scan(t.Context(), w.Pids())
	if err != nil || len(found) != 1 || len(found[0].Workers) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	if old := found[0].Workers[0]; old.Cache < cacheSize*248 {
		t.Errorf("the cache holds %d bytes", old.Cache)
	}
}

func TestTrimsPoolsOnce(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	tunnel := w.reload()
	w.guard(`version: 1
tiers:
  - name: relief
    enter: always
    actions: [trim-pools: {}, purge-ssl-cache: {}]
`, false)
	e := w.journal.wait(t, "the trim", 1, action(policy.TrimPools))[0]
	if !strings.Contains(e.Message, ": freed ") || !strings.Contains(e.Message, "its first "+
		"thread ") {
		t.Errorf("%q does not say what it freed and how long it stalled the worker", e.Message)
	}
	// Another generation's comes and goes in the same ticks that could have given the
	// first one's again.
	w.reload()
	w.journal.wait(t, "the next worker's", 2, action(policy.TrimPools))
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel: %v", err)
	}
	if n := len(w.journal.all(func(e systemd.Entry) bool {
		return e.Fields["HAPRESSURE_ACTION"] == policy.TrimPools && e.Fields["HAPRESSURE_GENERATION"] == "1"
	})); n != 1 {
		t.Errorf("%d trims of the first worker, of which nothing has changed", n)
	}
}

// If the kernel has no pressure and no memory controller, the guard continues without
// them, and each gap is reported once.
func TestGoesOnWithoutSensors(t *testing.T) {
	files := map[string]string{}
	for _, name := range []string{"memory.pressure", "memory.events", "memory.current", "memory.max", "memory.high", "memory.swap.current", "memory.stat"} {
		files[name] = cgrouptest.Absent
	}
	w := newWorld(t, haproxytest.Config{}, files)
	w.guard(purgeAlways, false)
	w.reload()
	w.journal.wait(t, "a purge", 1, action(policy.PurgeSSLCache))
	w.reload()
	w.journal.wait(t, "another", 2, action(policy.PurgeSSLCache))
	reported := map[string]int{}
	for _, e := range w.journal.all(kind(SensorMissing)) {
		reported[e.Fields["HAPRESSURE_SENSOR"]]++
		if e.Fields["HAPRESSURE_REASON"] == "" {
			t.Errorf("no reason: %q", e.Message)
		}
	}
	for _, sensor := range []string{"memory.pressure", "memory.events", "memory.stat"} {
		if reported[sensor] != 1 {
			t.Errorf("%s was reported %d times, want once", sensor, reported[sensor])
		}
	}
}

// A unit stops and starts again, in a new cgroup.
func TestTargetGoesAndComesBack(t *testing.T) {
	w := newWorld(t, haproxytest.Config{}, nil)
	w.guard(purgeAlways, false)
	w.journal.wait(t, "the target", 1, kind(TargetFound))
	w.tree.Remove(group)
	w.units.set("")
	w.journal.wait(t, "its end", 1, kind(TargetLost))
	w.tree.Group(group, nil)
	w.listProcs()
	w.units.set(group)
	w.journal.wait(t, "its return", 2, kind(TargetFound))
	w.reload()
	w.journal.wait(t, "a purge", 1, action(policy.PurgeSSLCache))
}

// A policy that is put in the place of another takes over its tier by name, and ends what
// it does not have.
func TestPolicyIsSwapped(t *testing.T) {
	const text = `version: 1
targets: [unit: %s]
tiers:
  - {name: first, enter: always, actions: []}
  - {name: second, enter: always, actions: [%s]}
`
	w := newWorld(t, haproxytest.Config{}, nil)
	w.reload()
	c := w.guard(fmt.Sprintf(text, "haproxy.service", ""), false)
	w.journal.wait(t, "the tier", 1, kind(TierChanged))
	c.SetPolicy(decode(t, fmt.Sprintf(text, "haproxy.service", "purge-ssl-cache: {}")), "")
	w.journal.wait(t, "what the new policy does in the same tier", 1, action(policy.PurgeSSLCache))
	if n := len(w.journal.all(kind(TierChanged))); n != 1 {
		t.Errorf("%d changes of tier", n)
	}
	c.SetPolicy(decode(t, fmt.Sprintf(text, "another.service", "")), "")
	w.journal.wait(t, "the end of its target", 1, kind(TargetLost))
	c.SetPolicy(decode(t, fmt.Sprintf(text, "haproxy.service", "")), "")
	w.journal.wait(t, "its return", 2, kind(TargetFound))
}

// A restart keeps the tier, and the numbers of generations; what is recorded replays,
// also where the policy is another then.
func TestRestartGoesOn(t *testing.T) {
	const text = `version: 1
tiers:
  - name: purge
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}}
    actions: [purge-ssl-cache: {}]
`
	recordings := t.TempDir()
	keep := Config{StateDir: t.TempDir(), RecordSize: 1 << 20, Record: func(string) io.WriteCloser { return NewFile(recordings, 1<<20, 16<<20) }}
	w := newWorld(t, haproxytest.Config{}, map[string]string{"memory.max": "1000000000\n", "memory.current": "800000000\n"})
	first := w.reload()
	w.reload()
	_, stop := w.guardWith(text, keep)
	w.journal.wait(t, "the purges", 2, action(policy.PurgeSSLCache))
	stop()
	first.Close()
	w.Eventually("the first worker has ended", func() error {
		if n := len(w.Children()); n != 2 {
			return fmt.Errorf("%d workers", n)
		}
		return nil
	})
	w.reload()
	// Between the two values: a guard without its state would be in no tier.
	w.tree.Write(group, "memory.current", "650000000\n")
	_, stop = w.guardWith(text, keep)
	e := w.journal.wait(t, "the next purge", 3, action(policy.PurgeSSLCache))[2]
	if g := e.Fields["HAPRESSURE_GENERATION"]; g != "3" {
		t.Errorf("generation %s, want 3", g)
	}
	if n := len(w.journal.all(kind(TierChanged))); n != 1 {
		t.Errorf("%d changes of tier, want that of the beginning", n)
	}
	stop()
	w.guardWith(strings.Replace(text, "leave: {usage: {below: 60%}}", "leave: {all: [{usage: "+
		"{below: 60%}}]}", 1), keep)
	w.reload()
	w.journal.wait(t, "a purge under another policy", 4, action(policy.PurgeSSLCache))
	if n := len(replayed(t, recordings)); n != 3 {
		t.Errorf("%d recordings, want one of each start", n)
	}
}

// State that another user could have written is not restored.
func TestPersistedStateOfOthers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kept")
	tests := []struct {
		text string
		mode os.FileMode
		good bool
	}{
		{`{"Version":2}`, 0o600, true},
		{`{"Version":2}`, 0o620, false},
		{`{"Version":2}`, 0o602, false},
		{`{"Version":1}`, 0o600, false},
		{"", 0o600, false},
		{"{", 0o600, false},
	}
	for _, tt := range tests {
		if err := errors.Join(os.WriteFile(file, []byte(tt.text), 0o600), os.Chmod(file, tt.mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := readPersisted(file); (err == nil) != tt.good {
			t.Errorf("%q with mode %o: %v", tt.text, tt.mode, err)
		}
	}
	if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := readPersisted(file); err == nil || !strings.Contains(err.Error(), "it is a FIFO") {
		t.Errorf("a FIFO: %v", err)
	}
}

func TestFailureSortsErrors(t *testing.T) {
	vary := &haproxy.Refusal{Reason: shctx.VaryCache}
	for _, tt := range []struct {
		err  error
		want policy.Result
	}{
		{vary, policy.Refused},
		{haproxy.ErrCannotStop, policy.Failed},
		{haproxy.ErrManyOwners, policy.Failed},
		{haproxy.ErrNotStopping, policy.Failed},
		{haproxy.ErrBusy, policy.Failed},
		{errors.Join(vary, haproxy.ErrBusy), policy.Failed},
		{errors.Join(vary, haproxy.ErrCannotStop), policy.Failed},
		{fmt.Errorf("purging: %w", errors.Join(vary, vary)), policy.Refused},
	} {
		if r := failure(tt.err); r.Result != tt.want || r.why != tt.err.Error() {
			t.Errorf("%v: %s, %q, want %s", tt.err, r.Result, r.why, tt.want)
		}
	}
}

func TestLimitIn(t *testing.T) {
	var s slope
	l := cgroupLimit(1000, 0)
	if r := s.limitIn(0, l); r.Absent == "" {
		t.Errorf("one reading is no slope: %+v", r)
	}
	for i := 1; i <= 4; i++ {
		l.Usage = uint64(100 * i)
		s.limitIn(time.Duration(i)*time.Second, l)
	}
	l.Usage = 500
	if r := s.limitIn(5*time.Second, l); r.Absent != "" || r.Value != 5 {
		t.Errorf("%+v, want 5 s: 500 bytes left at 100 bytes/s", r)
	}
	l.Usage = 100
	if r := s.limitIn(6*time.Second, l); r.Absent != policy.NotRising {
		t.Errorf("%+v, want not rising", r)
	}
	l.Kind = "memory.high"
	if r := s.limitIn(7*time.Second, l); r.Absent == "" || r.Absent == policy.NotRising {
		t.Errorf("%+v: the slope of another limit begins from nothing", r)
	}
}

func TestCacheOf(t *testing.T) {
	stopping := func(cache uint64, err error) haproxy.Worker {
		return haproxy.Worker{State: haproxy.StateStopping, Cache: cache, CacheErr: err}
	}
	tests := []struct {
		name string
		w    haproxy.Worker
		want policy.Cache
	}{
		{"a current worker's is not " +
			"looked at", haproxy.Worker{State: haproxy.StateCurrent, Cache: 1 << 30}, policy.CacheUnknown},
		{"full", stopping(1<<30, nil), policy.CacheFull},
		{"emptied, with pages of 64 KiB", stopping(64<<10, nil), policy.CacheEmpty},
		{"none", stopping(0, &haproxy.Refusal{Reason: shctx.NoCache}), policy.CacheEmpty},
		{"not recognised: to be " +
			"tried once", stopping(0, &haproxy.Refusal{Reason: shctx.UnknownLayout}), policy.CacheFull},
		{"not readable now", stopping(0, errors.New("no permission")), policy.CacheUnknown},
	}
	for _, tt := range tests {
		if got := cacheOf(tt.w); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func cgroupLimit(bytes, usage uint64) cgroup.Limit {
	return cgroup.Limit{Group: "/g", Kind: "memory.max", Bytes: bytes, Usage: usage}
}
