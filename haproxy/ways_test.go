package haproxy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"hapressure/tests/haproxytest"
)

// way is a way to start a master.
type way struct {
	name  string
	needs string // a program of the host
	maps  string // a library that the worker maps
	conf  haproxytest.Config
	until [2]int // the first release without it; zero: all have it
	since [2]int // the first release with it
}

// s6 starts HAProxy as a service of s6, as the image of kubernetes-ingress does.
const s6 = `mkdir -p DIR/s6/haproxy && cd DIR/s6 &&
printf '#!/bin/sh\nexport LD_PRELOAD=` + preloaded + `\nexec %s\n' "$*" >haproxy/run &&
chmod +x haproxy/run && exec s6-svscan .`

// preloaded is a library of libc, of no use to HAProxy.
const preloaded = "libc_malloc_debug.so.0"

func ways(t *testing.T) []way {
	var tcp string
	if err := haproxytest.FreeAddrs(&tcp); err != nil {
		t.Fatal(err)
	}
	args := func(args ...string) haproxytest.Config { return haproxytest.Config{Args: args} }
	const file = "DIR/haproxy.cfg"
	inContainer := []string{"-W", "-db", "-f", file}
	return []way{
		{name: "-W", conf: args("-W", "-f", file)},
		{name: "-W -db, as in a container", conf: args("-W", "-db", "-f", file)},
		{name: "-Ws, as under systemd", conf: args("-Ws", "-f", file)},
		{name: "master-worker in the configuration", until: [2]int{3, 5},
			conf: haproxytest.Config{Args: []string{"-f", file}, Global: "master-worker"}},
		{name: "-S on TCP", conf: args("-W", "-f", file, "-S", tcp)},
		{name: "-S on an abstract socket", conf: args("-W", "-f", file, "-S", "abns@"+t.Name())},
		{name: "-S with a mode and a user",
			conf: args("-W", "-f", file, "-S", "DIR/cli.sock,mode,600,uid,0")},
		{name: "two times -S",
			conf: args("-W", "-f", file, "-S", "DIR/a.sock", "-S", "DIR/b.sock")},
		{name: "-C and relative paths",
			conf: args("-C", "DIR", "-W", "-f", "haproxy.cfg", "-S", "unix@cli.sock")},
		{name: "two times -f", conf: args("-W", "-f", file, "-f", "/dev/null")},
		{name: "-f of a directory", conf: args("-W", "-f", "DIR")},
		{name: "files after --", conf: args("-W", "--", file)},
		{name: "a shell above it", conf: haproxytest.Config{Args: []string{"-W", "-f", file},
			Parent: []string{"sh", "-c", `"$@" & wait`, "sh"}}},
		{name: "process 1", conf: haproxytest.Config{Args: inContainer, FirstPID: true}},
		{name: "tini above it", needs: "tini", conf: haproxytest.Config{Args: inContainer,
			Parent: []string{"tini", "--"}, FirstPID: true}},
		{name: "dumb-init above it", needs: "dumb-init", conf: haproxytest.Config{
			Args: inContainer, Parent: []string{"dumb-init", "--"}, FirstPID: true}},
		{name: "s6 above it, and a preloaded library", needs: "s6-svscan",
			maps: preloaded, conf: haproxytest.Config{Args: inContainer, FirstPID: true,
				Parent: []string{"sh", "-c", s6, "sh"}}},
		{name: "a program section", until: [2]int{3, 2}, conf: haproxytest.Config{
			Args: []string{"-W", "-f", file}, Sections: "program agent\n    command sleep 3600\n"}},
		{name: "64 threads",
			conf: haproxytest.Config{Args: []string{"-W", "-f", file}, Threads: 64}},
		{name: "two thread groups", since: [2]int{2, 7}, conf: haproxytest.Config{
			Args: []string{"-W", "-f", file}, Threads: 4, Global: "thread-groups 2"}},
	}
}

// However a master was started, its workers are found, the one that a reload stops is
// proven and purged, and its connections live. What else its children are is left alone.
func TestWaysOfStart(t *testing.T) {
	for _, release := range haproxytest.Sample() {
		version := &haproxytest.HAProxy{Version: haproxytest.Version(t, release)}
		for _, way := range ways(t) {
			t.Run(release+" "+way.name, func(t *testing.T) {
				if way.until != [2]int{} && !version.Before(way.until[0], way.until[1]) ||
					version.Before(way.since[0], way.since[1]) {
					t.Skip("HAProxy " + version.Version + " has no such way")
				}
				way.conf.Release, way.conf.NoCLI, way.conf.CacheSize = release, true, cacheSize
				if _, err := exec.LookPath(way.needs); way.needs != "" && err != nil {
					t.Skip("needs " + way.needs + ", which packaging/setup.sh installs")
				}
				h := haproxytest.Start(t, way.conf)
				tunnel := h.Tunnel()
				p := stoppingWorker(t, h)
				maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.w.PID))
				if err != nil || !strings.Contains(string(maps), way.maps) {
					t.Errorf("the worker does not map %s, %v:\n%s", way.maps, err, maps)
				}
				res, err := purge(t.Context(), p, h.Pids())
				if err != nil || res.Freed() == 0 {
					t.Errorf("purge: %+v, %v", res, err)
				}
				if err := haproxytest.Echo(tunnel); err != nil {
					t.Errorf("tunnel: %v", err)
				}
			})
		}
	}
}

// A HAProxy that never waits for events may be purged, as a younger worker accepts, but
// no worker of it is a successor.
func TestBusyPolling(t *testing.T) {
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: cacheSize, Global: "busy-polling"})
	defer h.Tunnel().Close()
	h.SignalReload()
	s := NewScanner("/proc")
	in := scan(t, s, h, "the old worker is stopping, and the new one unknown",
		hasStates(StateStopping, StateUnknown))
	p := wantStopping(t, s, in.Workers[0])
	if res, err := purge(t.Context(), p, h.Pids()); err != nil || res.Freed() == 0 {
		t.Errorf("purge: %+v, %v", res, err)
	}
	if _, err := p.Replaced(); !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("replaced: %v, want ErrNoSuccessor", err)
	}
}
