package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/inspect"
	"hapressure/cmd/hapressure/internal/render"
	"hapressure/tests/haproxytest"
)

// hostWithoutBus is a mount namespace with cgroup v2 and neither D-Bus nor systemd, in
// which HAProxy is a unit all the same. TREE is a mount point, GROUP a group below it
// that has HOME as its system.slice.
const hostWithoutBus = `
set -e
mount -t cgroup2 none "$TREE"
mkdir -p "$TREE/$GROUP/system.slice/haproxy.service"
for pid in $PIDS; do echo "$pid" >"$TREE/$GROUP/system.slice/haproxy.service/cgroup.procs"; done
mount --bind "$TREE/$GROUP" /sys/fs/cgroup
mount -t tmpfs none /run
exec "$@"
`

// noBus makes commands that run on such a host.
type noBus struct {
	*haproxytest.HAProxy
	bin, tree, group string
}

func newNoBus(t *testing.T) *noBus {
	t.Helper()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs root and a real HAProxy")
	}
	n := &noBus{bin: program(t), tree: t.TempDir(), group: "hapressure-test-" +
		strconv.Itoa(os.Getpid())}
	if out, err := exec.Command("unshare", "--mount", "mount", "-t", "cgroup2", "none",
		n.tree).CombinedOutput(); err != nil {
		t.Skipf("cgroup v2 cannot be mounted: %v: %s", err, out)
	}
	t.Cleanup(func() { // once HAProxy has ended
		script := `mount -t cgroup2 none "$1" && rmdir "$1/$2/system.slice/haproxy.service" "$1/$2/system.slice" "$1/$2"`
		if out, err := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", n.tree,
			n.group).CombinedOutput(); err != nil {
			t.Errorf("removing the cgroups: %v: %s", err, out)
		}
	})
	n.HAProxy = haproxytest.Start(t, haproxytest.Config{CacheSize: 50_000})
	return n
}

func (n *noBus) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c",
		hostWithoutBus, "sh", n.bin}, args...)...)
	cmd.Env = append(os.Environ(), "TREE="+n.tree, "GROUP="+n.group,
		"PIDS="+strings.Trim(fmt.Sprint(n.Pids()), "[]"),
		"DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/none")
	return cmd
}

// persevere runs a command until no thread of the worker lacks a CPU in which to stop.
func (n *noBus) persevere(ctx context.Context, args ...string) ([]byte, error) {
	for end := time.Now().Add(haproxytest.Deadline); ; {
		out, err := n.command(ctx, args...).CombinedOutput()
		if !strings.Contains(string(out), "did not stop within") || time.Now().After(end) {
			return out, err
		}
	}
}

// Each command that finds a unit finds it without D-Bus, and none panics.
func TestCommandsWithoutABus(t *testing.T) {
	n := newNoBus(t)
	tunnel := n.Tunnel()
	n.Reload()
	defer tunnel.Close()
	for _, tt := range []struct {
		args string
		exit int
		says string
	}{
		{"status --json --socket /run/none", 3, `"by": "the cgroup tree"`},
		{"status --json --socket /run/none", 3, `"cgroup": "/system.slice/haproxy.service"`},
		{"doctor --json --socket /run/none", 3,
			"units are found by the cgroup tree: connecting to systemd over D-Bus: "},
		{"workers --unit haproxy --json", 0, fmt.Sprintf(`"pid": %d`, n.Master)},
		{"workers --unit other", 1, `reading unit "other.service": no such unit`},
		{"purge --unit haproxy.service --json", 0, `"result": "purged"`},
	} {
		out, err := n.persevere(t.Context(), strings.Fields(tt.args)...)
		exit, _ := err.(*exec.ExitError)
		if tt.exit == 0 && err != nil || tt.exit != 0 && (exit == nil ||
			exit.ExitCode() != tt.exit) || !strings.Contains(string(out), tt.says) {
			t.Errorf("hapressure %s: %v, want exit %d with %s:\n%s", tt.args, err, tt.exit, tt.says,
				out)
		}
	}
}

// The daemon guards a unit without D-Bus, reports once how it finds it, and purges what a
// reload leaves.
func TestRunWithoutABus(t *testing.T) {
	n := newNoBus(t)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ntiers: [{name: purge, enter: always, "+
		"actions: [purge-ssl-cache: {}]}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), haproxytest.Deadline)
	defer cancel()
	cmd := n.command(ctx, "run", "--policy", file, "--recordings=", "--control=")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	var said strings.Builder
	until := func(what string) {
		t.Helper()
		for lines.Scan() {
			fmt.Fprintln(&said, lines.Text())
			if strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("it never said %q:\n%s", what, &said)
	}
	until("Finding units by the cgroup tree instead of D-Bus: connecting to systemd over D-Bus: ")
	until("Guarding haproxy.service (cgroup /system.slice/haproxy.service)")
	tunnel := n.Tunnel()
	defer tunnel.Close()
	n.Reload()
	until("purge-ssl-cache on worker")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until("hapressure stopped")
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if err := haproxytest.Echo(tunnel); err != nil {
		t.Errorf("tunnel of the purged worker: %v", err)
	}
	if n := strings.Count(said.String(), "Finding units by"); n != 1 {
		t.Errorf("reported %d times:\n%s", n, &said)
	}
}

// A recording is made of a unit without D-Bus.
func TestRecordWithoutABus(t *testing.T) {
	n := newNoBus(t)
	ctx, cancel := context.WithTimeout(t.Context(), haproxytest.Deadline)
	defer cancel()
	file := filepath.Join(t.TempDir(), "recording")
	cmd := n.command(ctx, "record", "-o", file)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, said := bufio.NewScanner(stderr), ""
	for !strings.Contains(said, "Guarding haproxy.service") {
		if !lines.Scan() {
			t.Fatalf("it ended: %v\n%s", cmd.Wait(), said)
		}
		said += lines.Text() + "\n"
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		said += lines.Text() + "\n"
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

// Without a daemon an inspector remembers what is proven of workers: it does not ask a
// stopping worker again.
func TestInspectorRemembersWorkers(t *testing.T) {
	if pid, err := strconv.Atoi(os.Getenv("HAPRESSURE_STOPPING")); err == nil {
		inspectStoppedWorker(t, pid)
		return
	}
	n := newNoBus(t)
	tunnel := n.Tunnel()
	defer tunnel.Close()
	n.Reload()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n.bin = self
	cmd := n.command(t.Context(), "-test.run=^TestInspectorRemembersWorkers$", "-test.v")
	cmd.Env = append(cmd.Env, "HAPRESSURE_STOPPING="+strconv.Itoa(n.Children()[0]))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// inspectStoppedWorker runs on a host without a bus.
func inspectStoppedWorker(t *testing.T, pid int) {
	in := inspect.Inspector{Socket: "/run/none", Journal: host.Stderr{Writer: os.Stderr}}
	workers := func() string {
		t.Helper()
		s, err := in.Status(t.Context())
		if err != nil || len(s.Targets) != 1 {
			t.Fatalf("%+v, %v", s, err)
		}
		return render.WorkersSummary(s.Targets[0].Masters, s.Targets[0].Stopping)
	}
	const want = "1 current, 1 stopping"
	for end := time.Now().Add(haproxytest.Deadline); !strings.Contains(workers(), want); {
		if time.Now().After(end) {
			t.Fatal(workers())
		}
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGCONT)
	for range 2 {
		if text := workers(); !strings.Contains(text, want) {
			t.Errorf("%s", text)
		}
	}
}
