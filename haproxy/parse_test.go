package haproxy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Answers as real HAProxies gave them.
const (
	showSess26 = `0x5587a5480d20: proto=tcpv4 src=127.0.0.1:44848 fe=f be=b srv=s ts=00 epoch=0 age=2s calls=2 rate=0 cpu=0 lat=0 rq[f=808000h,i=0,an=00h,rx=59m57s,wx=,ax=] rp[f=80008000h,i=0,an=00h,rx=59m57s,wx=,ax=] scf=[8,0h,fd=14] scb=[8,1h,fd=15] exp=2s rc=0 c_exp=
0x5587a54464f0: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0 age=0s calls=2 rate=1 cpu=0 lat=0 rq[f=c0c020h,i=0,an=00h,rx=,wx=,ax=] rp[f=80008002h,i=0,an=00h,rx=,wx=,ax=] scf=[8,0h,fd=6] scb=[8,1h,fd=-1] exp=10s rc=0 c_exp=

`
	showInfo26 = "Name: HAProxy\nVersion: 2.6.12-1+deb12u4\nPid: 3831\nCurrConns: 1\nnode: vm\nStopping: 1\nJobs: 3\nUnstoppable Jobs: 1\nListeners: 1\n\n"
	maps26     = "55f0c0c00000-55f0c0c01000 r-xp 00055000 fe:00 1234    /usr/sbin/haproxy (deleted)\n7f16ba536000-7f16bbcdd000 rw-s 00000000 00:01 1024                       /dev/zero (deleted)\n7f16bbd00000-7f16bbd01000 rw-p 00000000 00:00 0 \n"
	statLine   = "3831 (haproxy (x) y) S 3828 3828 3820 0 -1 4194368 1211 0 0 0 5 3 0 0 20 0 2 0 98765 56000000 1200 18446744073709551615"
	statusText = "Name:\thaproxy\nUid:\t0\t104\t104\t104\nNSpid:\t3831\t7\nThreads:\t4\nVmRSS:\t   12000 kB\nRssAnon:\t    4980 kB\nRssShmem:\t      72 kB\nVmSwap:\t      20 kB\nShdPnd:\t0000000000000004\nSigCgt:\t0000000180014f07\n"
)

func TestParseShowInfo(t *testing.T) {
	in, err := ParseShowInfo(showInfo26)
	want := Info{PID: 3831, Stopping: true, Connections: 1, Listeners: 1, Unstoppable: 1}
	if err != nil || in != want {
		t.Errorf("%+v, %v, want %+v", in, err, want)
	}
	for line := range strings.Lines(showInfo26) {
		key, _, _ := strings.Cut(line, ":")
		if !slices.Contains([]string{"Pid", "Stopping", "CurrConns", "Listeners", "Unstoppable Jobs"}, key) {
			continue
		}
		if in, err := ParseShowInfo(strings.Replace(showInfo26, line, "", 1)); err == nil {
			t.Errorf("without %q: %+v, want an error", line, in)
		}
	}
	if _, err := ParseShowInfo(strings.Replace(showInfo26, "Stopping: 1", "Stopping: yes", 1)); err == nil {
		t.Error("Stopping: yes: want an error")
	}
}

func TestParseShowSess(t *testing.T) {
	ids, err := ParseShowSess(showSess26)
	if err != nil || !reflect.DeepEqual(ids, []string{"0x5587a5480d20"}) {
		t.Errorf("%v, %v", ids, err)
	}
	// Those that have been idle for longest come first, by the fuller of the two timeouts; 2.6 shows it in rq and rp, 3.0 in scf and scb.
	idle := "0xa: fe=f rq[f=0h,i=0,an=00h,rx=59m57s,wx=,ax=] rp[f=0h,rx=10s,wx=,ax=] scf=[8,0h,fd=14]\n" +
		"0xb: fe=f rq[f=0h,i=0,an=00h,ax=] rp[f=0h,ax=] scf=[8,0h,fd=1,rex=1h2m,wex=] scb=[8,1h,fd=2,rex=,wex=5d]\n" +
		"0xc: fe=f rq[f=0h,i=0,an=00h,ax=] rp[f=0h,ax=] scf=[8,0h,fd=1,rex=30s,wex=] scb=[8,1h,fd=2,rex=59m56s,wex=]\n"
	if ids, err := ParseShowSess(idle); err != nil || !reflect.DeepEqual(ids, []string{"0xc", "0xa", "0xb"}) {
		t.Errorf("%v, %v", ids, err)
	}
	if ids, err := ParseShowSess("Permission denied\n"); err == nil {
		t.Errorf("%v, want an error", ids)
	}
}

func anyMapping(Mapping) bool { return true }

func TestParseMaps(t *testing.T) {
	maps, err := parseMaps(strings.NewReader(maps26), anyMapping)
	if err != nil || len(maps) != 3 {
		t.Fatalf("%v, %v", maps, err)
	}
	want := Mapping{Start: 0x7f16ba536000, End: 0x7f16bbcdd000, Perms: "rw-s", Dev: "00:01", Inode: 1024, Path: "/dev/zero (deleted)"}
	if maps[1] != want || !want.Shared() || maps[0].Shared() || maps[2].Shared() {
		t.Errorf("%+v", maps)
	}
	named := Mapping{Perms: "rw-s", Inode: 5, Path: "[anon_shmem:shctx:ssl cache]"}
	file := Mapping{Perms: "rw-s", Inode: 5, Path: "/dev/shm/stats"}
	if !named.Shared() || file.Shared() {
		t.Error("a named anonymous mapping is shared memory, a file is not")
	}
}

func TestParseStat(t *testing.T) {
	st, err := parseStat([]byte(statLine))
	if err != nil || st != (stat{comm: "haproxy (x) y", state: 'S', ppid: 3828, start: 98765}) {
		t.Errorf("%+v, %v", st, err)
	}
	s, err := parseStatus([]byte(statusText))
	if err != nil || s != (status{rssAnon: 4980 << 10, rssShmem: 72 << 10, swap: 20 << 10, threads: 4, uid: 104, nspid: 7, depth: 2, caught: 0x180014f07, pending: 4}) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestReusedPIDIsGone(t *testing.T) {
	pid := unix.Getpid()
	st, err := readStat("/proc", pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := OpenProcess("/proc", ID{PID: pid, Start: st.start})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if p, err := OpenProcess("/proc", ID{PID: pid, Start: st.start - 1}); err == nil {
		p.Close()
		t.Error("a process with another start time was opened")
	}
}

func TestTicks(t *testing.T) {
	if d := ticks(350, 100); d != 2500*time.Millisecond {
		t.Errorf("%v, want 2.5s", d)
	}
	if d := ticks(100, 350); d != 0 {
		t.Errorf("%v for a start in the future, want 0", d)
	}
}

func TestParseProcesses(t *testing.T) {
	env := []byte("PATH=/bin\x00HAPROXY_PROCESSES=|type=m;fd=-1;pid=10;reloads=3|type=w;fd=6;cfd=7;pid=11;reloads=2;id=;version=3.0.11|" +
		"type=e;fd=-1;pid=12|type=w;fd=9;pid=13|type=w;fd=x;pid=14|type=w;fd=1;pid=15\x00X=|type=w;fd=8;pid=16\x00")
	if got := parseProcesses(env); !reflect.DeepEqual(got, map[int]int{11: 6, 13: 9}) {
		t.Errorf("%v", got)
	}
}

func FuzzParsers(f *testing.F) {
	for _, s := range []string{showSess26, showInfo26, maps26, statLine, statusText,
		"HAPROXY_PROCESSES=|type=w;fd=6;cfd=7;pid=11;reloads=2;id=;version=3.0.11\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ids, _ := ParseShowSess(s)
		for _, id := range ids {
			// What goes back into a command must be a plain number.
			if strings.Trim(id, "0123456789abcdefABCDEFx") != "" {
				t.Errorf("show sess: %q", id)
			}
		}
		maps, _ := parseMaps(strings.NewReader(s), anyMapping)
		for _, m := range maps {
			if m.End <= m.Start {
				t.Errorf("maps: %+v", m)
			}
		}
		for pid, fd := range parseProcesses([]byte(s)) {
			if pid <= 0 || fd <= 2 {
				t.Errorf("processes: %d=%d", pid, fd)
			}
		}
		ParseShowInfo(s)
		waitsForEvents(s)
		parseStat([]byte(s))
		parseStatus([]byte(s))
	})
}

// A command line is the process's own to write: it leads to configuration files, or to none.
func FuzzCommandLine(f *testing.F) {
	f.Add("haproxy\x00-Ws\x00-f\x00/etc/haproxy/haproxy.cfg\x00-p\x00/run/haproxy.pid\x00-S\x00/run/haproxy-master.sock\x00-sf\x0012\x0034\x00-x\x00sockpair@5\x00")
	f.Add("/usr/local/sbin/haproxy\x00-W\x00-db\x00-S\x00unix@/s,mode,600\x00--\x00a.cfg\x00b.cfg\x00")
	f.Add("haproxy\x00-S\x00ipv4@127.0.0.1:999\x00-f\x00")
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Split(text, "\x00")
		for _, name := range configArgs(args) {
			if !slices.Contains(args, name) {
				t.Errorf("%q is not in %q", name, args)
			}
		}
	})
}

// A master that is read in the middle of execve(2) has no command line. Its workers are not forgotten for that. The moment is too
// short to be met, so the files are made up.
func TestScanOfAMasterInExec(t *testing.T) {
	procfs := t.TempDir()
	put := func(pid, ppid int, cmdline string) {
		dir := filepath.Join(procfs, fmt.Sprint(pid))
		stat := fmt.Sprintf("%d (haproxy) S %d%s %d 0", pid, ppid, strings.Repeat(" 0", 17), 1000+pid)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/stat", []byte(stat), 0o644),
			os.WriteFile(dir+"/cmdline", []byte(cmdline), 0o644), os.WriteFile(dir+"/status", []byte(statusText), 0o644)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/usr/sbin/haproxy", dir+"/exe"); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	const master, worker = 1 << 30, 1<<30 + 1 // no process has these pids
	put(master, 1, "haproxy\x00-W\x00")
	put(worker, master, "haproxy\x00-W\x00")
	s := NewScanner(procfs)
	pids := []int{master, worker}
	found, err := s.Scan(t.Context(), pids)
	if err != nil || len(found) != 1 || len(found[0].Workers) != 1 || found[0].Workers[0].State != Unknown {
		t.Fatalf("%+v, %v, want one worker of which nothing is known", found, err)
	}
	put(master, 1, "")
	if found, err := s.Scan(t.Context(), pids); err != nil || len(found) != 1 || len(found[0].Workers) != 1 {
		t.Errorf("%+v, %v, want the master as it was", found, err)
	}
	put(master, 1, "haproxy\x00-W\x00")
	if found, err := s.Scan(t.Context(), pids); err != nil || found[0].Workers[0].Generation != 1 {
		t.Errorf("%+v, %v, want the same generation as before", found, err)
	}
	// A worker that runs something else by now is none, and keeps nobody from seeing the others.
	exe := filepath.Join(procfs, fmt.Sprint(worker), "exe")
	if err := errors.Join(os.Remove(exe), os.Symlink("/tmp/haproxy", exe)); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Scan(t.Context(), pids); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v, want nothing: the worker runs another program", found, err)
	}
	if found, err := s.Scan(t.Context(), pids[:1]); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v, want nothing: the worker has ended", found, err)
	}
}

func TestShutdownError(t *testing.T) {
	for _, good := range []string{"", "\n", "No such session (use 'show sess').\n"} {
		if err := shutdownError(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if err := shutdownError("Permission denied\n"); !errors.Is(err, ErrNoCLI) {
		t.Errorf("a CLI that does not let us: %v", err)
	}
	if err := shutdownError("Unknown command\n"); err == nil || errors.Is(err, ErrNoCLI) {
		t.Errorf("any other answer: %v", err)
	}
}
