package e2e

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The packages' own tests that want systemd and cgroup v2 for themselves. In the long
// form, and on an architecture that HAPRESSURE_SUITES names, all tests of these
// packages and of those that work with HAProxy, which is that of the guest.
func TestPackagesInGuest(t *testing.T) {
	for _, suite := range suites() {
		t.Run(suite, func(t *testing.T) {
			packages, tests := []string{"cgroup", "systemd"}, "^TestReal"
			if everything() || strings.Contains(suite, ":") {
				packages, tests = append(packages, "haproxy", "haproxy/cli", "haproxy/proc",
					"controller",
					"controller/control", "cmd/hapressure", "cmd/hapressure/internal/daemon",
					"cmd/hapressure/internal/doctor", "cmd/hapressure/internal/host",
					"cmd/hapressure/internal/policyfiles"), "^Test"
			}
			needGuest(t)
			spec := specOf(suite)
			spec.Files, spec.Timeout = tree(t), time.Hour
			for _, pkg := range packages {
				// as go test calls it, which makes it a HAProxy for some tests
				name := path.Base(pkg) + ".test"
				program := filepath.Join(t.TempDir(), name)
				goFor(t, spec.Arch, "test", "-c", "-o", program, "hapressure/"+pkg)
				spec.Files[filepath.Join("src", pkg, name)] = program
			}
			// Prometheus is for this machine, where the tests that need nothing else
			// run; and an emulated machine that is stepped through by instructions does
			// not come to an end.
			spec.Run = `
uname -srm; systemctl --version | head -n 1; haproxy -v | head -n 1
export HAPRESSURE_REAL=1 HAPRESSURE_HAPROXY=/usr/sbin/haproxy
failed=
for pkg in ` + strings.Join(packages, " ") + `; do
	echo "== $pkg"
	(cd "/payload/src/$pkg" && "./${pkg##*/}.test" -test.v -test.run ` + tests + ` -test.skip 'TestAlerts|TestPrometheusAnswersTheDashboard|//instructions' -test.timeout 50m) || failed+=" $pkg"
done
[ -z "$failed" ] || { echo "failed:$failed"; false; }`
			boot(t, spec)
		})
	}
}

// tree is this project's files, below src.
func tree(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS("../.."), ".",
		func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (len(name) > 1 && name[0] == '.' || name == "bin" || name == "dist"):
				return fs.SkipDir
			case entry.Type().IsRegular():
				files[filepath.Join("src", name)] = filepath.Join("../..", name)
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
