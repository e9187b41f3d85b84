package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hapressure/tests/guest"
)

// drainForRoom cuts no connection except to make room.
const drainForRoom = `version: 1
make-room: {drain: true}
tiers:
  - name: purge
    enter: {reload-room: {below: 2}}
    leave: {reload-room: {above: 3}, for: 30s}
    actions: [purge-ssl-cache: {}]
  - name: never
    enter: {usage: {above: 99.9%}, for: 24h}
    leave: {usage: {below: 99%}}
    actions: [hard-stop-after: {limit: 24h, spread: 1s}]
`

// With make-room before each reload no reload fails, and one that would have worked does
// so in spite of it; the script is in room.sh.
func TestReloadsWaitForRoom(t *testing.T) {
	script, err := os.ReadFile("room.sh")
	if err != nil {
		t.Fatal(err)
	}
	drains := filepath.Join(t.TempDir(), "drains.yaml")
	if err := os.WriteFile(drains, []byte(drainForRoom), 0o644); err != nil {
		t.Fatal(err)
	}
	m := runOn(t, guest.Spec{Suite: "trixie", Timeout: 40 * time.Minute, Files: map[string]string{
		"haproxy-make-room.conf": "../../packaging/examples/haproxy-make-room.conf",
		"drains.yaml":            drains,
	}}, "", string(script))
	var storms stormTable
	for _, kind := range []string{"flood", "heap", "drains"} {
		without, with := m.report(t, kind+"-no_gate.json"), m.report(t, kind+"-gate.json")
		waited := metric(t, m, kind+"-gate.prom", "hapressure_make_room_wait_seconds_sum")
		requests := metric(t, m, kind+"-gate.prom", "hapressure_make_room_wait_seconds_count")
		storms.add(kind, "without", without)
		storms.add(kind, fmt.Sprintf("make-room, waited %.1f s", waited), with)
		with.serves(t)
		if requests != float64(with.Reloads) {
			t.Errorf("%s: %v requests for room for %d reloads", kind, requests, with.Reloads)
		}
	}
	storms.log(t)
}

// metric reads a metric without labels from a file in /out.
func metric(t *testing.T, m machine, file, name string) float64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.Dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return 0
}
