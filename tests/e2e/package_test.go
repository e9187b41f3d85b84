package e2e

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hapressure/controller"
	"hapressure/policy"
)

// pack makes the packages of a version in a folder of the programs'. It is the same for
// the same version, and made once.
var pack = func() func(t *testing.T, version string) string {
	var mu sync.Mutex
	made := map[string]bool{}
	return func(t *testing.T, version string) string {
		t.Helper()
		if testing.Short() {
			t.Skip("makes packages: left out under -short")
		}
		mu.Lock()
		defer mu.Unlock()
		dir, err := built()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(dir, "packages-"+version)
		if !made[version] {
			makePackages(t, dir, version)
			made[version] = true
		}
		return dir
	}
}()

func makePackages(t *testing.T, dir, version string) {
	t.Helper()
	cmd := exec.Command("../../packaging/package.sh")
	cmd.Env = append(os.Environ(), "VERSION="+version, "DIST="+dir, "TMPDIR="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("making packages: %v\n%s", err, out)
	}
}

// The same source gives the same bytes.
func TestPackagesAreReproducible(t *testing.T) {
	first, second := pack(t, "1"), t.TempDir()
	makePackages(t, second, "1")
	files, err := os.ReadDir(first)
	if err != nil || len(files) != 4 {
		t.Fatalf("packages are %v, %v; want 4", files, err)
	}
	for _, f := range files {
		a, err := os.ReadFile(filepath.Join(first, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(second, f.Name())); err != nil ||
			!bytes.Equal(a, b) {
			t.Errorf("%s differs the second time (%v)", f.Name(), err)
		}
	}
}

func TestPackagesPassLint(t *testing.T) {
	dir := pack(t, "1")
	// rpmlint unpacks with cpio. Our paths are absolute: it would find nothing where it
	// unpacks to, and, as root, write to this machine.
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "cpio"),
		[]byte("#!/bin/sh\nexec /usr/bin/cpio --no-absolute-filenames \"$@\"\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, c := range []struct {
		lint []string
		kind string
	}{
		{[]string{"lintian", "--no-cfg", "--allow-root", "--fail-on", "error,warning"}, "*.deb"},
		{[]string{"rpmlint", "--strict", "--config", "../../packaging/rpm/rpmlint.toml"}, "*.rpm"},
	} {
		files, err := filepath.Glob(filepath.Join(dir, c.kind))
		if err != nil || len(files) != 2 {
			t.Fatalf("%s are %q, %v", c.kind, files, err)
		}
		args := append(c.lint[1:], files...)
		if out, err := exec.Command(c.lint[0], args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", c.lint[0], err, out)
		}
	}
}

// The whole life of the .deb on a real machine; the script is in package.sh.
func TestDebInGuest(t *testing.T) {
	needGuest(t)
	old, young := pack(t, "1"), pack(t, "2")
	script, err := os.ReadFile("package.sh")
	if err != nil {
		t.Fatal(err)
	}
	commands := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(commands, []byte(documentedCommands(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	var storms stormTable
	for _, suite := range suites() {
		t.Run(suite, func(t *testing.T) {
			spec := specOf(suite)
			spec.Files = map[string]string{
				"1.deb": filepath.Join(old, "hapressure_1-1_"+spec.Arch+".deb"),
				"2.deb": filepath.Join(young, "hapressure_2-1_"+spec.Arch+".deb"),
				"storm": filepath.Join(programs(t, spec.Arch), "storm"),

				"commands":    commands,
				"policy.yaml": "../../packaging/policies/default.yaml",
				"mine.yaml":   "../../packaging/policies/gentle.yaml",
				"other.yaml":  "../../packaging/policies/proactive.yaml",
			}
			spec.Run = "MESSAGE_IDS='" + strings.Join(slices.Sorted(maps.Keys(controller.Kinds())),
				" ") + "'\n" + string(script)
			spec.Timeout = 25 * time.Minute
			m := boot(t, spec)
			for _, name := range []string{"storm.json", "storm-all.json"} {
				storm := m.report(t, name)
				storms.add(suite, strings.TrimSuffix(name, ".json"), storm)
				storm.serves(t)
				// The milder the means, the better; but on a machine where a reload
				// takes a minute, memory is short for so long that the built-in policy
				// drains, and that it does.
				if drained := len(m.actions(policy.HardStopAfter)); storm.TunnelsAlive != storm.TunnelsOpened && drained == 0 {
					t.Errorf("%s: %d of %d tunnels are alive, and nothing was drained", name,
						storm.TunnelsAlive, storm.TunnelsOpened)
				}
			}
			// Whatever the sandbox forbids would show here.
			for _, kind := range []string{policy.PurgeSSLCache, policy.TrimPools, policy.PageOut} {
				if len(m.actions(kind)) == 0 {
					t.Errorf("%s was never done", kind)
				}
			}
		})
	}
	storms.log(t)
}
