package haproxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/tests/haproxytest"
)

var hardStopAfter = setting[time.Duration]{"hard-stop-after", parseTime}

func TestParseHardStopAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"global\n    hard-stop-after 30s\n":                            30 * time.Second,
		"global\n hard-stop-after 5000 # in ms\n":                      5 * time.Second,
		"global\nhard-stop-after\t\"1h\"\n":                            time.Hour,
		"global\n hard-stop-after 1m\nglobal\n hard-stop-after 2m\n":   2 * time.Minute,
		"global\n# hard-stop-after 1m\n description hard-stop-after\n": 0,
		".if defined(X)\n.endif\nglobal\n hard-stop-after 3d\n":        72 * time.Hour,
	} {
		d, ok, err := hardStopAfter.in(strings.NewReader(text))
		if d != want || ok != (want != 0) || err != nil {
			t.Errorf("%q: %v, %v, %v, want %v", text, d, ok, err, want)
		}
	}
	for _, bad := range []string{"hard-stop-after\n", "hard-stop-after x\n", "hard-stop-after 5w\n",
		"hard-stop-after ${T}\n",
		".if defined(X)\nhard-stop-after 5s\n.endif\n", "hard-stop-after 99999999999s\n",
		"hard-stop-after 25d\n", "hard-stop-after 10000000h\n"} {
		if d, _, err := hardStopAfter.in(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %v, want an error", bad, d)
		}
	}
}

func FuzzParseHardStopAfter(f *testing.F) {
	f.Add("global\n    log /dev/log local0\n    hard-stop-after 30s\ndefaults\n    timeout " +
		"client 1h\n")
	f.Fuzz(func(t *testing.T, text string) {
		if d, ok, err := hardStopAfter.in(strings.NewReader(text)); d < 0 || err != nil && (ok ||
			d != 0) {
			t.Errorf("%v, %v, %v", d, ok, err)
		}
	})
}

func TestSettingsOfARunningMaster(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{
		Global: "hard-stop-after 7m\nmworker-max-reloads 9"})
	in := scan(t, NewScanner("/proc"), h, "one current worker", hasStates(StateCurrent))
	if d, ok, err := HardStopAfter("/proc", in); d != 7*time.Minute || !ok || err != nil {
		t.Errorf("%v, %v, %v", d, ok, err)
	}
	if n, ok, err := MaxReloads("/proc", in); n != 9 || !ok || err != nil {
		t.Errorf("mworker-max-reloads: %v, %v, %v", n, ok, err)
	}
	os.Remove(filepath.Join(h.Dir, "haproxy.cfg"))
	if d, ok, err := HardStopAfter("/proc", in); err == nil {
		t.Errorf("without the file: %v, %v", d, ok)
	}
	h.WriteConfig("")
}

// TestConfigurationOutsideOfTheRoot: a process without a master changes its root after it
// has read its configuration. Its parent is then this process.
func TestConfigurationOutsideOfTheRoot(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	h := haproxytest.StartAlone(t, haproxytest.Config{
		Global: "hard-stop-after 7m\n    chroot " + t.TempDir()})
	in := scan(t, NewScanner("/proc"), h, "it serves", hasStates(StateCurrent))
	if d, ok, err := HardStopAfter("/proc", in); d != 7*time.Minute || !ok || err != nil {
		t.Errorf("%v, %v, %v, want 7m", d, ok, err)
	}
}
