package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"hapressure/controller/status"
	"hapressure/policy"
)

// ownEtc makes /etc one that belongs to the mount namespace.
const ownEtc = ` && cp /etc/passwd /etc/group /run && mount -t tmpfs none /etc && ` +
	`cp /run/passwd /run/group /etc && mkdir /etc/hapressure`

// startOnItsOwn runs a daemon that guards nothing, on a host with an /etc of its own.
func startOnItsOwn(t *testing.T, bin, policy string) running {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	c := inCgroups(bin, "run", "--policy", policy)
	c[4] = strings.Replace(c[4], " && exec", ownEtc+" && exec", 1)
	return start(t, c[0], c[1:]...)
}

// Modes and pauses are in force when the command returns, and after the daemon was
// killed; so are mistakes in their files.
func TestDaemonObeysModes(t *testing.T) {
	bin, idle := program(t), idlePolicy(t)
	d := startOnItsOwn(t, bin, idle)
	d.sees(t, " started with the policy "+idle)
	host := d.mounts()
	hapressure := func(args ...string) string {
		t.Helper()
		code, out := ends(t, "nsenter", append([]string{host, bin}, args...)...)
		if code != 0 {
			t.Fatalf("%q: exit %d\n%s", args, code, out)
		}
		return out
	}
	inForce := func(want string) {
		t.Helper()
		var s status.Steering
		out := hapressure("mode", "--json")
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := string(s.Mode.InForce) + ": " + s.Mode.Why; !strings.HasPrefix(got, want) {
			t.Errorf("in force is %s, want %s", got, want)
		}
	}
	inForce("full: mode full")
	if out := hapressure("mode", "purge-only"); strings.Contains(out, "not running") {
		t.Errorf("%s", out)
	}
	d.sees(t, "The mode of all targets is now purge-only; it was full")
	if out := hapressure("pause", "--for", "1h", "--target", "a"); !strings.Contains(out,
		`warning: no target "a.service" is guarded now`) {
		t.Errorf("%s", out)
	}
	d.sees(t, "no action is performed on a.service")
	hapressure("pause", "--for", "1h")
	d.sees(t, "no action is performed on all targets")
	inForce("observe: paused until 2")

	// Without a daemon, in the namespace that the next one has as well.
	keeper := start(t, "nsenter", host, "sh", "-c", "echo here >&2; exec sleep infinity")
	keeper.sees(t, "here")
	host = keeper.mounts()
	d.Process.Kill()
	d.Wait()
	inForceWithout := hapressure("mode")
	if !strings.Contains(inForceWithout, "would start with this") ||
		!strings.Contains(inForceWithout, "paused until 2") {
		t.Errorf("%s", inForceWithout)
	}
	d = start(t, "nsenter", host, bin, "run", "--policy", idle)
	d.sees(t, ", no action is performed: paused until 2")
	inForce("observe: paused until 2")
	var s status.Status
	if err := json.Unmarshal([]byte(hapressure("status", "--json")), &s); err != nil ||
		!s.Mode.Paused || s.Mode.Set != policy.PurgeOnly {
		t.Errorf("status: %+v, %v", s.Mode, err)
	}
	if code, out := ends(t, "nsenter", host, bin, "doctor"); !strings.Contains(out,
		"warning  mode       all targets: no action is performed: paused until 2") {
		t.Errorf("doctor: exit %d\n%s", code, out)
	}
	hapressure("resume")
	d.sees(t, "Acting on a.service again: 'hapressure resume' has ended the pause")
	inForce("purge-only: mode purge-only")

	// An edit by hand, which no command announces.
	edit := func(text string) {
		t.Helper()
		ends(t, "nsenter", host, "sh", "-c", "echo "+text+" > /etc/hapressure/mode")
	}
	edit("purge-onyl")
	d.sees(t, `No action is performed: the mode is not known: /etc/hapressure/mode:1: "purge-onyl"`)
	inForce("observe: the mode is not known")
	edit("full")
	d.sees(t, "The mode of all targets is now full; it was purge-only")
	inForce("full: mode full")
}
