package cli

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hapressure/haproxy/proc"
)

// Answers as real HAProxies gave them.
const (
	showSess26 = "0x5587a5480d20: proto=tcpv4 src=127.0.0.1:44848 fe=f be=b srv=s ts=00 epoch=0 " +
		"age=2s calls=2 rate=0 cpu=0 lat=0 rq[f=808000h,i=0,an=00h,rx=59m57s,wx=,ax=] " +
		"rp[f=80008000h,i=0,an=00h,rx=59m57s,wx=,ax=] scf=[8,0h,fd=14] scb=[8,1h,fd=15] exp=2s " +
		"rc=0 c_exp=\n0x5587a54464f0: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> " +
		"ts=00 epoch=0 age=0s calls=2 rate=1 cpu=0 lat=0 rq[f=c0c020h,i=0,an=00h,rx=,wx=,ax=] " +
		"rp[f=80008002h,i=0,an=00h,rx=,wx=,ax=] scf=[8,0h,fd=6] scb=[8,1h,fd=-1] exp=10s rc=0 " +
		"c_exp=\n\n"
	showInfo26 = "Name: HAProxy\nVersion: 2.6.12-1+deb12u4\nPid: 3831\nCurrConns: 1\nnode: vm\n" +
		"Stopping: 1\nJobs: 3\nUnstoppable Jobs: 1\nListeners: 1\n\n"
)

func TestParseInfo(t *testing.T) {
	in, err := parseInfo(showInfo26)
	want := Info{PID: 3831, Stopping: true, Connections: 1, Listeners: 1, Unstoppable: 1}
	if err != nil || in != want {
		t.Errorf("%+v, %v, want %+v", in, err, want)
	}
	for line := range strings.Lines(showInfo26) {
		key, _, _ := strings.Cut(line, ":")
		if !slices.Contains([]string{"Pid", "Stopping", "CurrConns", "Listeners",
			"Unstoppable Jobs"}, key) {
			continue
		}
		if in, err := parseInfo(strings.Replace(showInfo26, line, "", 1)); err == nil {
			t.Errorf("without %q: %+v, want an error", line, in)
		}
	}
	if _, err := parseInfo(strings.Replace(showInfo26, "Stopping: 1", "Stopping: yes",
		1)); err == nil {
		t.Error("Stopping: yes: want an error")
	}
}

const showMap = "# id (file) description\n" +
	"0 (/etc/haproxy/a (1).map) pattern loaded from file '/etc/haproxy/a (1).map' used by map at " +
	"file 'h.cfg' line 10. curr_ver=0 next_ver=0 entry_cnt=50\n" +
	"3 () acl 'path' file 'h.cfg' line 12. curr_ver=0 next_ver=0 entry_cnt=2\n\n"

func TestContents(t *testing.T) {
	var c Contents
	if err := c.addPatterns(showMap, &c.MapEntries); err != nil {
		t.Fatal(err)
	}
	if c.MapEntries != 52 || c.Largest.Entries != 50 ||
		!strings.HasPrefix(c.Largest.File, "/etc/haproxy/a") {
		t.Errorf("%+v", c)
	}
	for _, answer := range []string{"Permission denied\n", "0 (x) y. entry_cnt=\n",
		"0 (x) y. entry_cnt=99999999999999999999\n"} {
		if err := new(Contents).addPatterns(answer, new(uint64)); err == nil {
			t.Errorf("%q: want an error", answer)
		}
	}
	if n := countLines("# filename\n*/etc/a.pem\n/etc/a.pem\n/etc/b.pem\n\n"); n != 2 {
		t.Errorf("%d certificates, want 2", n)
	}
}

func TestParseSessions(t *testing.T) {
	ids, err := parseSessions(showSess26)
	if err != nil || !reflect.DeepEqual(ids, []string{"0x5587a5480d20"}) {
		t.Errorf("%v, %v", ids, err)
	}
	// Those that have been idle for longest come first, by the fuller of the two
	// timeouts; 2.6 shows it in rq and rp, 3.0 in scf and scb.
	idle := "0xa: fe=f rq[f=0h,i=0,an=00h,rx=59m57s,wx=,ax=] rp[f=0h,rx=10s,wx=,ax=] " +
		"scf=[8,0h,fd=14]\n" +
		"0xb: fe=f rq[f=0h,i=0,an=00h,ax=] rp[f=0h,ax=] scf=[8,0h,fd=1,rex=1h2m,wex=] " +
		"scb=[8,1h,fd=2,rex=,wex=5d]\n" +
		"0xc: fe=f rq[f=0h,i=0,an=00h,ax=] rp[f=0h,ax=] scf=[8,0h,fd=1,rex=30s,wex=] " +
		"scb=[8,1h,fd=2,rex=59m56s,wex=]\n"
	if ids, err := parseSessions(idle); err != nil || !reflect.DeepEqual(ids, []string{"0xc", "0xa",
		"0xb"}) {
		t.Errorf("%v, %v", ids, err)
	}
	if ids, err := parseSessions("Permission denied\n"); err == nil {
		t.Errorf("%v, want an error", ids)
	}
}

func TestParseProcesses(t *testing.T) {
	env := []byte("PATH=/bin\x00HAPROXY_PROCESSES=|type=m;fd=-1;pid=10;reloads=3|" +
		"type=w;fd=6;cfd=7;pid=11;reloads=2;id=;version=3.0.11|" +
		"type=e;fd=-1;pid=12|type=w;fd=9;pid=13|type=w;fd=x;pid=14|type=w;fd=1;pid=15\x00X=|" +
		"type=w;fd=8;pid=16\x00")
	if got := parseProcesses(env); !reflect.DeepEqual(got, map[int]int{11: 6, 13: 9}) {
		t.Errorf("%v", got)
	}
}

func TestShutdownError(t *testing.T) {
	for _, good := range []string{"", "\n", "No such session (use 'show sess').\n"} {
		if err := shutdownError(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if err := shutdownError("Permission denied\n"); !errors.Is(err, ErrNoCLI) {
		t.Errorf("a CLI without the admin level: %v", err)
	}
	if err := shutdownError("Unknown command\n"); err == nil || errors.Is(err, ErrNoCLI) {
		t.Errorf("any other answer: %v", err)
	}
}

// What a process wrote over its environment is parsed in a time that its length bounds.
func TestNoteOfMillionsOfEntries(t *testing.T) {
	for _, entry := range []string{"|", ";", "|type=w;fd=9;pid=1"} {
		note := []byte("HAPROXY_PROCESSES=" + strings.Repeat(entry, proc.FileLimit/len(entry)))
		allocated := testing.AllocsPerRun(1, func() { parseProcesses(note) })
		if limit := float64(maxNote); allocated > limit {
			t.Errorf("%q: %.0f allocations, want at most %.0f", entry, allocated, limit)
		}
	}
}

func FuzzParsers(f *testing.F) {
	for _, s := range []string{showSess26, showInfo26, showMap,
		"HAPROXY_PROCESSES=|type=w;fd=6;cfd=7;pid=11;reloads=2;id=;version=3.0.11\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ids, _ := parseSessions(s)
		for _, id := range ids {
			// What goes back into a command must be a plain number.
			if strings.Trim(id, "0123456789abcdefABCDEFx") != "" {
				t.Errorf("show sess: %q", id)
			}
		}
		for pid, fd := range parseProcesses([]byte(s)) {
			if pid <= 0 || fd <= 2 {
				t.Errorf("processes: %d=%d", pid, fd)
			}
		}
		parseInfo(s)
		new(Contents).addPatterns(s, new(uint64))
		countLines(s)
	})
}
