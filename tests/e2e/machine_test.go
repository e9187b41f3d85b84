package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hapressure/controller"
	"hapressure/tests/guest"
)

// built is the folder of all that is built for guests. It goes with the tests.
var built = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "hapressure-tests-") })

// programs builds, once for each architecture, the programs that guests run, and
// returns their folder.
var programs = func() func(t *testing.T, arch string) string {
	var mu sync.Mutex
	done := map[string]bool{}
	return func(t *testing.T, arch string) string {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		dir, err := built()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(dir, arch)
		if done[arch] {
			return dir
		}
		goFor(t, arch, "build", "-o", dir+"/", "hapressure/cmd/hapressure",
			"hapressure/tests/storm")
		done[arch] = true
		return dir
	}
}()

func goFor(t *testing.T, arch string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	lab.Close()
	if !testing.Short() {
		if dir, err := built(); err == nil {
			os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// machine is a guest with hapressure installed and not yet started.
type machine struct {
	*guest.Result
	storm   stormReport
	entries []map[string]string // hapressure's journal entries, in order
}

// stormReport is what the storm measured; see storm/report.go.
type stormReport struct {
	Reloads            int            `json:"reloads"`
	ReloadsFailed      int            `json:"reloads_failed"`
	ReloadErrors       []string       `json:"reload_errors"`
	OOMKills           *int           `json:"oom_kills"` // nil: not known
	TunnelsOpened      int            `json:"tunnels_opened"`
	TunnelsAlive       int            `json:"tunnels_alive"`
	TunnelsBroken      int            `json:"tunnels_broken"`
	BrokenByGeneration map[string]int `json:"broken_by_generation"`
	FreshOK            int            `json:"fresh_ok"`
	FreshFailed        int            `json:"fresh_failed"`
	FreshErrors        []string       `json:"fresh_errors"`
	PeakBytes          *uint64        `json:"peak_bytes"` // nil: not known
	LiveWorkerLost     int            `json:"live_worker_lost"`
}

// install puts hapressure where the package puts it.
const install = `
set -eu
install -m 755 hapressure /usr/bin/hapressure
install -m 644 hapressure.service /etc/systemd/system/hapressure.service
install -D -m 644 org.hapressure1.conf /usr/share/dbus-1/system.d/org.hapressure1.conf
mkdir -p /etc/hapressure
if [ -e policy.yaml ]; then install -m 644 policy.yaml /etc/hapressure/policy.yaml; fi
systemctl daemon-reload
`

// runStorm runs script in a guest, in which hapressure is installed; script is to run
// ./storm with --out /out/storm.json. policy is the policy file, empty for the built-in
// policy.
func runStorm(t *testing.T, policy, script string) machine {
	t.Helper()
	m := runInGuest(t, policy, script)
	m.storm = m.report(t, "storm.json")
	return m
}

// report reads what a storm left in /out.
func (m machine) report(t *testing.T, name string) stormReport {
	t.Helper()
	var r stormReport
	b, err := os.ReadFile(filepath.Join(m.Dir, name))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatalf("reading the storm's report: %v", err)
	}
	return r
}

// runInGuest runs a script in a guest in which hapressure is installed, with the policy
// file of the given text, if any.
func runInGuest(t *testing.T, policy, script string) machine {
	t.Helper()
	return runOn(t, guest.Spec{Suite: "trixie", Timeout: 20 * time.Minute}, policy, script)
}

// suites are the releases of Debian to run on, of this machine's architecture or, as in
// trixie:arm64, of another.
func suites() []string {
	if named := strings.Fields(os.Getenv("HAPRESSURE_SUITES")); len(named) > 0 {
		return named
	}
	return []string{"trixie"}
}

func specOf(suite string) guest.Spec {
	suite, arch, _ := strings.Cut(suite, ":")
	return guest.Spec{Suite: suite, Arch: cmp.Or(arch, runtime.GOARCH)}
}

// runOn is runInGuest on a machine of its own kind.
func runOn(t *testing.T, spec guest.Spec, policy, script string) machine {
	t.Helper()
	needGuest(t)
	dir := programs(t, cmp.Or(spec.Arch, runtime.GOARCH))
	files := map[string]string{
		"hapressure":           filepath.Join(dir, "hapressure"),
		"storm":                filepath.Join(dir, "storm"),
		"hapressure.service":   "../../packaging/hapressure.service",
		"org.hapressure1.conf": "../../packaging/org.hapressure1.conf",
		"gentle.yaml":          "../../packaging/policies/gentle.yaml",
		"faults.sh":            "../faults/faults.sh",
	}
	if policy != "" {
		files["policy.yaml"] = filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(files["policy.yaml"], []byte(policy), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	maps.Copy(files, spec.Files)
	spec.Files, spec.Run = files, install+script
	return boot(t, spec)
}

// lab has the guest that the tests share; each test finds it as if just booted.
var lab guest.Lab

// boot runs a script in a guest and reads hapressure's journal.
func boot(t *testing.T, spec guest.Spec) machine {
	t.Helper()
	spec.Live = &logLines{t: t}
	res, err := lab.Run(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Remove() })
	m := machine{Result: res}
	f, err := os.Open(filepath.Join(res.Dir, "journal.export"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if m.entries, err = ourEntries(f); err != nil {
		t.Fatal(err)
	}
	for _, e := range m.entries {
		t.Logf("journal: %s", e["MESSAGE"])
	}
	if res.ExitStatus != 0 {
		t.Fatalf("the script in the guest ended with %d", res.ExitStatus)
	}
	return m
}

// of returns the entries of one kind, such as controller.Action, that have the given
// field; "" for any.
func (m machine) of(id, field, value string) []map[string]string {
	var found []map[string]string
	for _, e := range m.entries {
		if e["MESSAGE_ID"] == id && (field == "" || e[field] == value) {
			found = append(found, e)
		}
	}
	return found
}

// actions returns the entries of actions of one kind that were done.
func (m machine) actions(kind string) []map[string]string {
	return m.of(controller.Action.ID(), "HAPRESSURE_ACTION", kind)
}

// ourEntries reads hapressure's entries from a journal in export format (systemd's
// Journal Export Format). Text fields only: ours are all text without line breaks.
func ourEntries(f *os.File) ([]map[string]string, error) {
	var entries []map[string]string
	entry := map[string]string{}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		if len(sc.Bytes()) == 0 {
			if entry["SYSLOG_IDENTIFIER"] == controller.Identifier && entry["MESSAGE_ID"] != "" {
				entries = append(entries, entry)
			}
			entry = map[string]string{}
			continue
		}
		if key, value, ok := strings.Cut(sc.Text(), "="); ok {
			entry[key] = value
		}
	}
	return entries, sc.Err()
}

// logLines passes what a guest prints on to the test's log, a line at a time.
type logLines struct {
	t   *testing.T
	buf []byte
}

func (l *logLines) Write(p []byte) (int, error) {
	l.buf = append(l.buf, p...)
	for {
		line, rest, ok := bytes.Cut(l.buf, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.t.Logf("guest: %s", line)
		l.buf = rest
	}
}

func number(t *testing.T, e map[string]string, field string) int {
	t.Helper()
	n, err := strconv.Atoi(e[field])
	if err != nil {
		t.Fatalf("%s of %v: %v", field, e, err)
	}
	return n
}
