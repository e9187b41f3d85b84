package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/cmd/hapressure/internal/selector"
	"hapressure/controller"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/policy/language"
	"hapressure/tests/cgrouptest"
	"hapressure/tests/haproxytest"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755),
		os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// sound is a host on which all is well: one target, /lb, and no HAProxy to be asked.
func sound(t *testing.T) (*exam, cgrouptest.Tree) {
	t.Helper()
	tree := cgrouptest.New(t)
	tree.Group("/lb", map[string]string{"memory.current": "500000000\n",
		"memory.max": "1000000000\n"})
	procfs := t.TempDir()
	writeFile(t, procfs+"/meminfo",
		"MemTotal: 3009444 kB\nMemAvailable: 2689488 kB\nSwapTotal: 1000000 kB\nSwapFree: "+
			"1000000 kB\n")
	writeFile(t, procfs+"/swaps", "Filename Type Size Used Priority\n/swap file 1000000 0 -2\n")
	files := []language.File{{Name: "test.yaml",
		Text: []byte("version: 1\ntargets: [cgroup: /lb]\ntiers: [{name: purge, enter: always, " +
			"actions: [purge-ssl-cache: {}]}]\n")}}
	p, err := language.Decode(files...)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	worker := status.Worker{PID: 11, State: "current", Shared: new(uint64(200e6)),
		Private: new(uint64(50e6))}
	return &exam{version: "1.0",
		procfs: procfs, recordings: controller.Recordings{Dir: t.TempDir(), PerTarget: 1 << 20},
		states: t.TempDir(), mount: tree.Mount, policy: p, files: files,
		units: map[string]map[string]any{
			ownUnit: {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}},
		status: status.Status{
			At: now, Daemon: &status.Daemon{Version: "1.0", Started: now,
				MissingRights: []status.Privilege{}},
			Policy: status.Policy{Origin: "the policy test.yaml", SHA256: controller.Digest(p)},
			Targets: []status.Target{{Name: "/lb", Cgroup: "/lb", At: now,
				Masters: []status.Master{{PID: 10, Workers: []status.Worker{worker}}}}},
		},
	}, tree
}

// ills are the findings that are not ok, as "level check: found".
func ills(e *exam) (all []string) {
	for _, f := range e.findings {
		if f.Level != fine {
			all = append(all, f.Level+" "+f.Check+": "+f.Found)
		}
	}
	return all
}

func TestDoctorFindsNothingWrong(t *testing.T) {
	e, _ := sound(t)
	e.examine(t.Context())
	if got := ills(e); len(got) > 0 || e.verdict != nil || len(e.findings) < 6 {
		t.Errorf("%q, %v", got, e.verdict)
	}
}

// Each ill that is made is found, and nothing else.
func TestDoctorFinds(t *testing.T) {
	for want, make := range map[string]func(*testing.T, *exam, cgrouptest.Tree){
		"problem host: cgroup v2 is not mounted": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			e.mountErr = errors.New("cgroup v2 is not mounted")
		},
		"problem host: reading host memory": func(t *testing.T, e *exam,
			_ cgrouptest.Tree) {
			os.Remove(e.procfs + "/meminfo")
		},
		"problem policy: the policy has mistakes": func(_ *testing.T, e *exam, _ cgrouptest.Tree) {
			e.policy, e.policyErr = nil, errors.New("the policy has mistakes")
		},
		"problem policy: the policy test.yaml is in force, because the files had mistakes: " +
			"line 3": func(_ *testing.T, e *exam, _ cgrouptest.Tree) {
			e.status.Policy.Rejected = "line 3"
		},
		"warning policy: the policy test.yaml is in force, and": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			e.status.Policy.SHA256 = "other"
		},
		"warning service: hapressure.service is not-found": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			e.units[ownUnit]["LoadState"] = "not-found"
		},
		"problem service: hapressure.service is failed": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			e.units[ownUnit]["ActiveState"] = "failed"
		},
		"warning service: hapressure.service is disabled": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			e.units[ownUnit]["UnitFileState"] = "disabled"
		},
		"warning service: units are found by the cgroup tree: no D-Bus; no " +
			"hooks": func(_ *testing.T, e *exam, _ cgrouptest.Tree) {
			e.status.Systemd = status.Systemd{By: "the cgroup tree", Why: "no D-Bus",
				Lacks: "no hooks"}
		},
		"warning service: the daemon is hapressure 0.1, and": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			e.status.Daemon.Version = "0.1"
		},
		"warning service: the daemon only reports": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			e.status.Daemon.DryRun = true
		},
		"warning mode: all targets: no action is performed: mode observe": func(_ *testing.T,
			e *exam, _ cgrouptest.Tree) {
			e.status.Mode = status.Mode{InForce: policy.Observe, Set: policy.Observe,
				Why: "mode observe"}
			e.status.Targets[0].Mode = e.status.Mode
		},
		"warning mode: /lb: no action is performed: paused; the mode is full": func(_ *testing.T,
			e *exam, _ cgrouptest.Tree) {
			e.status.Targets[0].Mode = status.Mode{InForce: policy.Observe, Set: policy.Full,
				Paused: true, Why: "paused"}
		},
		"problem mode: all targets: no action is performed: not known; the mode is full": func(
			_ *testing.T, e *exam, _ cgrouptest.Tree) {
			e.status.Mode = status.Mode{InForce: policy.Observe, Set: policy.Full, Why: "not known"}
			e.status.Targets[0].Mode = e.status.Mode
		},
		"warning service: the daemon says: nothing": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			e.statusErr = errors.New("the daemon says: nothing")
		},
		"problem rights: ptrace(2): forbidden; needed to trace; purge-ssl-cache cannot " +
			"be done": func(_ *testing.T, e *exam, _ cgrouptest.Tree) {
			e.status.Daemon.MissingRights = []status.Privilege{{Name: "ptrace(2)",
				Actions: []string{"purge-ssl-cache"}, Missing: "forbidden", Why: "trace"}}
		},
		"warning rights: pidfd_getfd(2): forbidden; needed to ask; purge-ssl-cache cannot be done " +
			"without -S": func(_ *testing.T, e *exam, _ cgrouptest.Tree) {
			e.status.Daemon.MissingRights = []status.Privilege{{Name: "pidfd_getfd(2)",
				Actions: []string{"purge-ssl-cache"}, Where: "without -S", Missing: "forbidden",
				Why: "ask"}}
		},
		"warning targets: /none of the policy is not running": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			e.policy.Targets = append(e.policy.Targets, policy.Target{Cgroup: "/none"})
		},
		"warning targets: /none.slice/lb of the policy is not running": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			// The first one runs: a path in a policy need not begin with a slash.
			e.policy.Targets = append(e.policy.Targets, policy.Target{Cgroup: "lb"},
				policy.Target{Cgroup: "none.slice/lb"})
		},
		"warning targets: looking needs root": func(_ *testing.T, e *exam,
			_ cgrouptest.Tree) {
			e.foundErr = errors.New("looking needs root")
		},
		"warning targets: master 10 (workers: 0), in other.service: no " +
			"target": func(t *testing.T, e *exam, _ cgrouptest.Tree) {
			e.found = []haproxy.Instance{{Master: haproxy.ID{PID: 10}}}
			writeFile(t, e.procfs+"/10/cmdline", "haproxy\x00-W\x00")
			writeFile(t, e.procfs+"/10/cgroup", "0::/system.slice/other.service\n")
		},
		"problem memory: /lb: reading memory.pressure of cgroup /lb": func(_ *testing.T, _ *exam,
			tree cgrouptest.Tree) {
			os.Remove(filepath.Join(tree.Mount, "lb/memory.pressure"))
		},
		"problem memory: /lb: reading memory.high of cgroup /lb: no such file in this " +
			"cgroup": func(_ *testing.T, _ *exam, tree cgrouptest.Tree) {
			os.Remove(filepath.Join(tree.Mount, "lb/memory.high"))
		},
		"warning memory: /lb has no limit": func(_ *testing.T, _ *exam,
			tree cgrouptest.Tree) {
			tree.Write("/lb", "memory.max", "max\n")
		},
		"warning memory: /lb: a worker holds 238 MiB, and three": func(_ *testing.T, _ *exam,
			tree cgrouptest.Tree) {
			tree.Write("/lb", "memory.max", "700000000\n")
		},
		"problem memory: /lb: a worker holds 238 MiB, and two of them do not fit into " +
			"MemAvailable": func(t *testing.T, e *exam, _ cgrouptest.Tree) {
			writeFile(t, e.procfs+"/meminfo",
				"MemTotal: 400000 kB\nMemAvailable: 300000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")
		},
		"problem memory: /lb: a worker holds 238 MiB, and two of them do not fit into /lb " +
			"memory.max of 381 MiB": func(_ *testing.T, _ *exam,
			tree cgrouptest.Tree) {
			tree.Write("/lb", "memory.max", "400000000\n")
		},
		"warning oom: memory.oom.group of cgroup /lb is 1": func(_ *testing.T, _ *exam,
			tree cgrouptest.Tree) {
			tree.Write("/lb", "memory.oom.group", "1\n")
		},
		"problem memory: opening cgroup": func(_ *testing.T, _ *exam,
			tree cgrouptest.Tree) {
			tree.Remove("/lb")
		},
	} {
		t.Run(want, func(t *testing.T) {
			e, tree := sound(t)
			make(t, e, tree)
			e.examine(t.Context())
			got := ills(e)
			if len(got) != 1 || !strings.HasPrefix(got[0], want) {
				t.Errorf("found %q", got)
			}
			if (e.verdict != nil) != strings.HasPrefix(want, problem) {
				t.Errorf("verdict %v", e.verdict)
			}
		})
	}
}

// Swap decides what page-out is worth.
func TestDoctorTellsSwap(t *testing.T) {
	e, _ := sound(t)
	e.sysfs = t.TempDir()
	line := func() string {
		e.findings = nil
		checkHost(t.Context(), e)
		return e.findings[0].Found
	}
	writeFile(t, e.sysfs+"/module/zswap/parameters/enabled", "N\n")
	if got, want := line(), "2939 MiB of memory, 977 MiB of swap"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	writeFile(t, e.sysfs+"/module/zswap/parameters/enabled", "Y\n")
	if got, want := line(), "977 MiB of swap behind zswap"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	writeFile(t, e.sysfs+"/module/zswap/parameters/enabled", "N\n")
	writeFile(t, e.procfs+"/swaps",
		"Filename Type Size Used Priority\n/dev/zram0 partition 1000 0 100\n")
	if got, want := line(), "977 MiB of swap, some in zram"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	writeFile(t, e.procfs+"/meminfo",
		"MemTotal: 3009444 kB\nMemAvailable: 2689488 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")
	if got, want := line(), "no swap"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A process is in a unit, in a container, or in a cgroup that is no unit.
func TestDoctorTellsWhereHAProxyRuns(t *testing.T) {
	for want, has := range map[string]struct{ cgroup, ns string }{
		"in haproxy.service":   {"/system.slice/haproxy.service", "pid:[1]"},
		"in haproxy-1.scope":   {"/system.slice/haproxy-1.scope/sub", "pid:[1]"},
		"in cgroup /lb":        {"/lb", "pid:[1]"},
		"in an unknown cgroup": {"", "pid:[1]"},
		"in a container, cgroup /machine.slice/libpod-1.scope/container": {
			"/machine.slice/libpod-1.scope/container", "pid:[2]"},
	} {
		e, _ := sound(t)
		for pid, ns := range map[string]string{"self": "pid:[1]", "10": has.ns} {
			dir := filepath.Join(e.procfs, pid, "ns")
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.Symlink(ns, dir+"/pid")); err != nil {
				t.Fatal(err)
			}
		}
		if has.cgroup != "" {
			writeFile(t, e.procfs+"/10/cgroup", "0::"+has.cgroup+"\n")
		}
		if got := e.placeOf(10); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// What ends all of HAProxy when memory is short is found in its unit and in the slices
// above it.
func TestDoctorFindsWhatKillsAll(t *testing.T) {
	const unit, slice = "haproxy.service", "web.slice"
	type units = map[string]map[string]any
	for want, has := range map[string]units{
		"ok oom: haproxy.service: a shortage of memory ends single processes of it": {
			unit: {"OOMPolicy": "continue", "ManagedOOMSwap": "auto"}},
		"warning oom: haproxy.service has OOMPolicy=stop: ": {unit: {"OOMPolicy": "stop"}},
		"warning oom: haproxy.service has OOMPolicy=kill: ": {unit: {"OOMPolicy": "kill"}},
		"warning oom: web.slice has ManagedOOMSwap=kill: systemd-oomd may kill all processes of " +
			"haproxy.service": {
			slice: {"ManagedOOMSwap": "kill"}, oomd: {"ActiveState": "active"}},
		"warning oom: -.slice has ManagedOOMMemoryPressure=kill: ": {
			"-.slice": {"ManagedOOMMemoryPressure": "kill"}, oomd: {"ActiveState": "active"}},
		"ok oom: haproxy.service: a shortage": { // it is not running
			slice: {"ManagedOOMSwap": "kill"}, oomd: {"ActiveState": "inactive"}},
		"ok oom: haproxy.service: a shortage of": {slice: {"ManagedOOMSwap": "kill"},
			unit: {"ManagedOOMPreference": "omit"}, oomd: {"ActiveState": "active"}},
	} {
		t.Run(want, func(t *testing.T) {
			e, tree := sound(t)
			tree.Group("/web.slice/haproxy.service", nil)
			if has[unit]["OOMPolicy"] == "kill" {
				tree.Write("/web.slice/haproxy.service", "memory.oom.group", "1\n")
			}
			e.status.Targets = []status.Target{{Name: unit, Cgroup: "/web.slice/haproxy.service"}}
			if got := e.unitNames(); !slices.Equal(got, []string{ownUnit, oomd, "-.slice", slice,
				unit}) {
				t.Errorf("reads the units %q", got)
			}
			e.units, e.check = has, "oom"
			checkOOM(t.Context(), e)
			if f := e.findings; len(f) != 1 ||
				!strings.HasPrefix(f[0].Level+" "+f[0].Check+": "+f[0].Found, want) {
				t.Errorf("found %q", f)
			}
		})
	}
}

// A container's own groups are no units.
func TestUnitsOf(t *testing.T) {
	for of, want := range map[string]string{
		"/": "-.slice", "/lb": "-.slice", "/system.slice/haproxy.service": "-.slice system.slice " +
			"haproxy.service",
		"/machine.slice/libpod-1.scope/container":  "-.slice machine.slice libpod-1.scope",
		"/kubepods.slice/kubepods-burstable.slice": "-.slice kubepods.slice kubepods-burstable.slice",
		"/system.slice/_memory.service":            "-.slice system.slice memory.service",
		"/user.slice/user-0.slice/user@0.service/app.slice/haproxy.service": "-.slice user.slice " +
			"user-0.slice user@0.service",
	} {
		if got := strings.Join(unitsOf(of), " "); got != want {
			t.Errorf("%s: got %s, want %s", of, got, want)
		}
	}
}

// A real disk that is full or read-only.
func TestDoctorFindsNoRoomForRecordings(t *testing.T) {
	e, _ := sound(t)
	if err := syscall.Mount("none", e.recordings.Dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	defer syscall.Unmount(e.recordings.Dir, 0)
	e.examine(t.Context())
	if got := ills(e); len(got) != 1 || !strings.HasSuffix(got[0],
		"is full or read-only: 1024 KiB are free") {
		t.Errorf("found %q", got)
	}
}

// How much there is of recordings and states is said with its bound, and what is beyond
// it is a warning.
func TestDoctorTellsHowMuchIsKept(t *testing.T) {
	e, _ := sound(t)
	for i := range 66 { // one target is guarded, and 64 others are let be
		target := fmt.Sprintf("c%d.service", i)
		writeFile(t, filepath.Join(e.recordings.Dir, target, "20260102T030405.000000Z.jsonl.gz"),
			"recording")
		writeFile(t, filepath.Join(e.states, target+".json"), "{}")
	}
	e.examine(t.Context())
	got := ills(e)
	for i, want := range []string{"warning recordings: " + e.recordings.Dir +
		": 1 KiB in 66 files of 66 targets, more than the bound: 1 MiB for each target that is " +
		"guarded; " +
		"for all others 16 MiB, 64 targets, 336 hours", "warning state: " + e.states +
		": 0 KiB in 66 files of 66 targets, more than the bound: "} {
		if len(got) != 2 || !strings.HasPrefix(got[i], want) {
			t.Fatalf("found %q, want %q", got, want)
		}
	}
	for _, dir := range []string{e.recordings.Dir, e.states} {
		entries, err := os.ReadDir(dir)
		for _, e := range entries[:1] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	e.findings = nil
	e.examine(t.Context())
	if got := ills(e); len(got) > 0 {
		t.Errorf("at the bound: found %q", got)
	}
}

// Where no daemon runs, the rights are those of this process, and that is said.
func TestDoctorWithoutDaemon(t *testing.T) {
	e, _ := sound(t)
	writeFile(t, e.procfs+"/sys/kernel/yama/ptrace_scope", "3\n")
	e.status.Daemon = nil
	e.examine(t.Context())
	got := strings.Join(ills(e), "\n")
	wants := []string{"warning service: no daemon is running", "warning rights: no daemon reports"}
	if os.Geteuid() == 0 {
		wants = append(wants, "problem rights: kernel.yama.ptrace_scope: it is 3")
	}
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("found\n%s\nwant %s", got, want)
		}
	}
}

// leaked is a listening socket that HAProxy is started with and does not use.
func leaked(t *testing.T) *os.File {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestDoctorLooksAtHAProxy(t *testing.T) {
	for _, tt := range []struct {
		conf haproxytest.Config
		want []string // of its own checks, with their levels
	}{
		{haproxytest.Config{CacheSize: 50_000,
			Global: "hard-stop-after 10m\nmworker-max-reloads 3"},
			[]string{"ok master M has hard-stop-after 10m",
				"warning master M has mworker-max-reloads 3: HAProxy ends a worker",
				"ok worker W (current): its TLS session cache of 12 MiB is recognised",
				"ok worker W (stopping): its TLS session cache of 12 MiB is recognised"}},
		{haproxytest.Config{CLI: ",level,operator"}, []string{"ok master M has no hard-stop-after",
			"ok master M has no mworker-max-reloads", "ok worker W (current) has no TLS session " +
				"cache"}},
		{haproxytest.Config{Files: []*os.File{leaked(t)}},
			[]string{"warning worker W is not proven to be stopping, although a younger worker is " +
				"current: it accepts connections on 127.0.0.1:"}},
		{haproxytest.Config{CacheSize: 50_000, Threads: 1},
			[]string{"warning worker W (current) has no TLS session cache in shared memory. Up to " +
				"HAProxy 2.8",
				"MiB in all, and cannot be purged; page-out, "}},
		{haproxytest.Config{Global: "mworker-max-reloads 50"},
			[]string{"ok master M has mworker-max-reloads 50"}},
		{haproxytest.Config{NoCLI: true, Global: ".if 1\nhard-stop-after 1h\n.endif"},
			[]string{"it depends on a condition", "ok worker W (stopping)"}},
		{haproxytest.Config{Sections: "cache c\n    total-max-size 4\n"},
			[]string{"ok worker W (stopping) has no TLS session cache"}},
	} {
		run := haproxytest.Start(t, tt.conf)
		if tt.conf.Threads == 1 && !run.Before(2, 9) {
			continue // its cache is in shared memory
		}
		run.Tunnel()
		run.Reload()
		e, tree := sound(t)
		text := ""
		run.Eventually("all is found", func() (err error) {
			tree.Write("/lb", "cgroup.procs",
				strings.Trim(strings.ReplaceAll(fmt.Sprint(run.Pids()), " ", "\n"), "[]")+"\n")
			e.procfs, e.pids, e.findings = "/proc", run.Pids(), nil
			if e.found, err = selector.Scan(t.Context(), haproxy.NewScanner("/proc"),
				e.pids); err != nil {
				return err
			}
			e.check = "haproxy"
			checkTargets(t.Context(), e)
			checkHAProxy(t.Context(), e)
			text = ""
			for _, f := range e.findings {
				found := strings.ReplaceAll(f.Found, "master "+strconv.Itoa(run.Master), "master M")
				for _, pid := range run.Children() {
					found = strings.ReplaceAll(found, "worker "+strconv.Itoa(pid), "worker W")
				}
				text += f.Level + " " + found + "\n"
			}
			for _, want := range tt.want {
				if !strings.Contains(strings.ReplaceAll(text, run.Dir+"/", ""), want) {
					return fmt.Errorf("found\n%swant %s", text, want)
				}
			}
			return nil
		})
		if strings.Contains(text, "no target") || !strings.Contains(text, "covered by "+
			"target /lb") || strings.Contains(text, "is left out") {
			t.Errorf("found\n%s", text)
		}
	}
}

func TestDoctorNamesWhatIsLeftOut(t *testing.T) {
	e, _ := sound(t)
	e.leftOut = []haproxy.LeftOut{{PID: 9, Program: "/opt/haproxy", Why: "it has no section"}}
	e.examine(t.Context())
	want := Finding{fine, "targets", "process 9 (/opt/haproxy) is left out: it has no section", ""}
	if !slices.Contains(e.findings, want) {
		t.Errorf("%+v", e.findings)
	}
}

func TestStatusTellsMissingRights(t *testing.T) {
	e, _ := sound(t)
	e.status.Daemon.MissingRights = []status.Privilege{{Name: "CAP_KILL",
		Actions: []string{"trim-pools"}, Missing: "not there", Why: "signal"}}
	if out := render.Status(e.status, render.Screen{}); !strings.Contains(out,
		"Missing: CAP_KILL: not there; needed to signal; trim-pools cannot be done\n") {
		t.Error(out)
	}
}
