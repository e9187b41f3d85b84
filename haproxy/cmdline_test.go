package haproxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// samples are command lines as they were seen, and what HAProxy makes of them.
var samples = map[string]arguments{
	"haproxy -Ws -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid -S /run/master.sock " +
		"-sf 12 34 -x sockpair@5": {
		configs: []string{"/etc/haproxy/haproxy.cfg"}, masterWorker: true, old: []int{12, 34}},
	"/usr/local/sbin/haproxy -W -db -S unix@/s,mode,600 -- a.cfg -sf": {
		configs: []string{"a.cfg", "-sf"}, masterWorker: true},
	"haproxy -f /var/lib/haproxy/conf/haproxy.config -p /var/lib/haproxy/run/haproxy.pid " +
		"-x /var/lib/haproxy/run/haproxy.sock -sf 23 101": {
		configs: []string{"/var/lib/haproxy/conf/haproxy.config"}, old: []int{23, 101}},
	"haproxy -D -f a -st 5 -f b -L -sf": {
		configs: []string{"a", "b"}, old: []int{5}, signal: unix.SIGTERM},
	"haproxy -st 5 -sf 6 -D":                         {old: []int{5, 6}},
	"haproxy -dt h2:verbose -dM -db -q -V -sf 7":     {old: []int{7}},
	"haproxy -sf":                                    {},
	"haproxy -sf 0 x 8 +9 9999999999999999999999 -D": {old: []int{8, 9}},
	"haproxy -c -f a":                                {configs: []string{"a"}, checks: true},
	"haproxy -f a -cc version":                       {configs: []string{"a"}, checks: true},
	"haproxy -vv":                                    {checks: true},
	"haproxy -x -sf 5":                               {}, // HAProxy refuses what follows
	"haproxy a -sf 5":                                {},
	"haproxy -S -sf -n 5 -C /x":                      {},
	"":                                               {},
}

func TestParseArguments(t *testing.T) {
	for line, want := range samples {
		if want.signal == 0 {
			want.signal = unix.SIGUSR1
		}
		got := parseArguments(strings.Fields(line))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
}

// TestListWithoutEnd: a process can name as many as its memory holds.
func TestListWithoutEnd(t *testing.T) {
	a := parseArguments(strings.Fields("haproxy -sf " + strings.Repeat("7 ", 2*oldMost) + "-W"))
	if len(a.old) != oldMost || !a.masterWorker {
		t.Errorf("%d names, %v", len(a.old), a.masterWorker)
	}
}

// A command line is the process's own to write.
func FuzzParseArguments(f *testing.F) {
	for line := range samples {
		f.Add(strings.ReplaceAll(line, " ", "\x00"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Split(text, "\x00")
		a := parseArguments(args)
		for _, name := range a.configs {
			if !slices.Contains(args, name) {
				t.Errorf("%q is not in %q", name, args)
			}
		}
		for _, pid := range a.old {
			if pid <= 0 {
				t.Errorf("pid %d", pid)
			}
		}
	})
}
