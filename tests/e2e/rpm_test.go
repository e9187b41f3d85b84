package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rpmRoot is a root folder of its own for rpm, with a shell for its scriptlets and a
// systemctl that only notes how it is called.
type rpmRoot struct {
	t   *testing.T
	dir string
}

func newRPMRoot(t *testing.T) rpmRoot {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("rpm --root needs root")
	}
	r := rpmRoot{t, t.TempDir()}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	r.run("install", "-D", busybox, r.path("/bin/sh"))
	r.run("install", "-d", r.path("/usr/bin"), r.path("/run/systemd/system"))
	for _, name := range []string{"systemctl", "journalctl"} {
		r.write("/usr/bin/"+name, "#!/bin/sh\necho \"${0##*/} $*\" >>/called\n")
		r.run("chmod", "+x", r.path("/usr/bin/"+name))
	}
	return r
}

func (r rpmRoot) path(name string) string { return filepath.Join(r.dir, name) }

func (r rpmRoot) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r rpmRoot) run(name string, args ...string) string {
	r.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// rpm runs it, and checks how its scriptlets called systemctl and journalctl.
func (r rpmRoot) rpm(calls []string, args ...string) string {
	r.t.Helper()
	// Debian's rpm refuses to install without the option.
	out := r.run("rpm", append([]string{"--root", r.dir, "--force-debian"}, args...)...)
	b, err := os.ReadFile(r.path("/called"))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	os.Remove(r.path("/called"))
	if got := strings.Split(strings.TrimSpace(string(b)), "\n"); calls != nil &&
		!slices.Equal(got, calls) {
		r.t.Errorf("rpm %q called %q, want %q", args, got, calls)
	}
	return out
}

func TestRPM(t *testing.T) {
	r := newRPMRoot(t)
	one, two := filepath.Join(pack(t, "1"), "hapressure-1-1.x86_64.rpm"),
		filepath.Join(pack(t, "2"), "hapressure-2-1.x86_64.rpm")
	r.rpm([]string{
		"systemctl --no-reload preset hapressure.service",
		"journalctl --update-catalog",
		"systemctl daemon-reload",
		"systemctl --quiet is-enabled hapressure.service",
		"systemctl start hapressure.service",
	}, "--install", "--nodeps", one) // there is no systemd to depend on

	for line := range strings.Lines(r.rpm(nil, "-q", "--queryformat",
		`[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]`, "hapressure")) {
		mode, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		want := "-rw-r--r--"
		if strings.HasPrefix(mode, "d") {
			want = "drwxr-xr-x"
		} else if strings.HasSuffix(rest, " /usr/bin/hapressure") {
			want = "-rwxr-xr-x"
		}
		if mode != want || !strings.HasPrefix(rest, "root root /") {
			t.Errorf("%s, want %s root root", strings.TrimSpace(line), want)
		}
	}
	for what, want := range map[string]string{
		"--requires":    "\nsystemd\n",
		"--configfiles": "\n/etc/hapressure/policy.d/README\n/etc/hapressure/policy.d/site.yaml.example\n",
		"--docfiles":    "\n/usr/share/man/man8/hapressure.8.gz\n",
		"--list":        "\n/usr/lib/systemd/system/hapressure.service\n",
	} {
		if out := r.rpm(nil, "-q", what, "hapressure"); !strings.Contains("\n"+out, want) {
			t.Errorf("rpm -q %s says %q, want %q", what, out, want)
		}
	}
	r.run("chroot", r.dir, "/usr/bin/hapressure", "policy", "check",
		"/usr/share/hapressure/policies/default.yaml")

	r.write("/etc/hapressure/policy.d/README", "mine\n")
	r.rpm([]string{
		"journalctl --update-catalog",
		"systemctl daemon-reload",
		"systemctl daemon-reload",
		"systemctl try-restart hapressure.service",
	}, "--upgrade", "--nodeps", two)
	if b, err := os.ReadFile(r.path("/etc/hapressure/policy.d/README")); err != nil ||
		string(b) != "mine\n" {
		t.Errorf("the upgrade left %q, %v of an edited file", b, err)
	}
	if out := r.run("chroot", r.dir, "/usr/bin/hapressure",
		"--version"); out != "hapressure version 2\n" {
		t.Errorf("after the upgrade it is %q", out)
	}
	r.rpm([]string{
		"systemctl --no-reload disable --now hapressure.service hapressure-metrics.socket",
		"systemctl daemon-reload",
	}, "--erase", "hapressure")
	if _, err := os.Stat(r.path("/usr/bin/hapressure")); !os.IsNotExist(err) {
		t.Errorf("after the removal: %v", err)
	}
	if _, err := os.Stat(r.path("/etc/hapressure/policy.d/README.rpmsave")); err != nil {
		t.Errorf("an edited file was not kept: %v", err)
	}
}
