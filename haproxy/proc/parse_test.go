package proc

import (
	"cmp"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/tests/haproxytest"
)

// Files as real processes had them.
const (
	maps26 = "55f0c0c00000-55f0c0c01000 r-xp 00055000 fe:00 1234    /usr/sbin/haproxy " +
		"(deleted)\n7f16ba536000-7f16bbcdd000 rw-s 00000000 00:01 1024                       " +
		"/dev/zero (deleted)\n7f16bbd00000-7f16bbd01000 rw-p 00000000 00:00 0 \n"
	statLine = "3831 (haproxy (x) y) S 3828 3828 3820 0 -1 4194368 1211 0 0 0 5 3 0 0 20 0 2 0 " +
		"98765 56000000 1200 18446744073709551615"
	statusText = "Name:\thaproxy\nUid:\t0\t104\t104\t104\nFDSize:\t256\nNSpid:\t3831\t7\n" +
		"Threads:\t4\nVmRSS:\t   12000 kB\nRssAnon:\t    4980 kB\nRssFile:\t    6948 kB\n" +
		"RssShmem:\t      72 kB\nVmPTE:\t      92 kB\nVmSwap:\t      20 kB\n" +
		"ShdPnd:\t0000000000000004\nSigCgt:\t0000000180014f07\nCapBnd:\t00000000a80425fb\n"
	// of a container of rootless podman
	uidMap = "         0       1000          1\n         1     100000      65536\n"
)

const rollup = "55f0c0c00000-7ffd5f5b0000 ---p 00000000 00:00 0                  [rollup]\n" +
	"Rss:              408100 kB\nPss:              403000 kB\nAnonHugePages:    204800 kB\n" +
	"ShmemPmdMapped:        0 kB\nSwap:               1024 kB\nSwapPss:            1024 kB\n"

func anyMapping(Mapping) bool { return true }

func TestParseMaps(t *testing.T) {
	maps, err := parseMaps(strings.NewReader(maps26), anyMapping)
	if err != nil || len(maps) != 3 {
		t.Fatalf("%v, %v", maps, err)
	}
	want := Mapping{Start: 0x7f16ba536000, End: 0x7f16bbcdd000, Perms: "rw-s", Dev: "00:01",
		Inode: 1024, Path: "/dev/zero (deleted)"}
	if maps[1] != want || !want.Shared() || maps[0].Shared() || maps[2].Shared() {
		t.Errorf("%+v", maps)
	}
	if maps[0].PrivateAnonymous() || maps[1].PrivateAnonymous() || !maps[2].PrivateAnonymous() {
		t.Errorf("private and anonymous is only the last one: %+v", maps)
	}
	code := Mapping{Perms: "rwxp"}
	if code.PrivateAnonymous() {
		t.Error("memory that can be executed counts as private and anonymous")
	}
	named := Mapping{Perms: "rw-s", Inode: 5, Path: "[anon_shmem:shctx:ssl cache]"}
	file := Mapping{Perms: "rw-s", Inode: 5, Path: "/dev/shm/stats"}
	if !named.Shared() || file.Shared() {
		t.Error("a named anonymous mapping is shared memory, a file is not")
	}
}

func TestParseStat(t *testing.T) {
	st, err := parseStat([]byte(statLine))
	if err != nil || st != (Stat{Comm: "haproxy (x) y", State: 'S', PPID: 3828,
		CPU: 80 * time.Millisecond, Start: 98765}) {
		t.Errorf("%+v, %v", st, err)
	}
	s, err := parseStatus([]byte(statusText))
	if err != nil || s != (Status{RSSAnon: 4980 << 10, RSSFile: 6948 << 10, RSSShmem: 72 << 10,
		Swap: 20 << 10, Tables: 92 << 10, Slots: 256, Threads: 4, UID: 104, NSPID: 7, Depth: 2,
		Caught: 0x180014f07, Pending: 4, Bounding: 0xa80425fb}) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestUserInside(t *testing.T) {
	for uid, want := range map[uint32]string{
		0:      "user 0 has no id in the user namespace",
		999:    "user 999 has no id in the user namespace",
		1000:   "0",
		1001:   "user 1001 has no id in the user namespace",
		100000: "1",
		100098: "99",
		165535: "65536",
		165536: "user 165536 has no id in the user namespace",
	} {
		inside, err := insideOf(uidMap, uid)
		if got := cmp.Or(errorText(err), fmt.Sprint(inside)); got != want {
			t.Errorf("user %d: %s, want %s", uid, got, want)
		}
	}
	if uid, err := UserInside("/proc", unix.Getpid(), 65534); uid != 65534 || err != nil {
		t.Errorf("in this process's own namespace user 65534 is %d, %v", uid, err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestKernelMemory(t *testing.T) {
	// 256 slots take 256 pointers and two bitmaps of 32 bytes.
	if got := (Status{Tables: 92 << 10, Slots: 256}).Kernel(); got != 92<<10+2048+64 {
		t.Errorf("%d", got)
	}
}

func TestParseRollup(t *testing.T) {
	r, err := parseRollup([]byte(rollup))
	if err != nil || r != (Rollup{HugePages: 200 << 20, Swapped: 1 << 20}) {
		t.Errorf("%+v, %v", r, err)
	}
	for _, text := range []string{"", "Swap: 1 kB\n",
		strings.Replace(rollup, "1024 kB", "1 MB", 1)} {
		if r, err := parseRollup([]byte(text)); err == nil {
			t.Errorf("%q: %+v, want an error", text, r)
		}
	}
}

func TestReusedPIDIsGone(t *testing.T) {
	pid := unix.Getpid()
	st, err := ReadStat("/proc", pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open("/proc", ID{PID: pid, Start: st.Start})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if p, err := Open("/proc", ID{PID: pid, Start: st.Start - 1}); err == nil {
		p.Close()
		t.Error("a process with another start time was opened")
	}
}

func TestTicks(t *testing.T) {
	if d := Between(100, 350); d != 2500*time.Millisecond {
		t.Errorf("%v, want 2.5s", d)
	}
	if d := Between(350, 100); d != 0 {
		t.Errorf("%v for a start in the future, want 0", d)
	}
}

func TestWaitsForEvents(t *testing.T) {
	for text, want := range map[string]bool{
		// epoll_wait, HAProxy 2.6
		"232 0x4 0x7f5d2c000b60 0xc8 0x3e8 0x0 0x0 0x7ffd5f5a8a80 0x7f5d3a2c1e26\n": true,
		// openat, of a FIFO in its configuration
		"257 0xffffff9c 0x7ffc3 0x0 0x0 0x0 0x0 0x7ffc 0x7f01\n": false,
		"running\n":                          false,
		"-1 0x7ffd5f5a8a80 0x7f5d3a2c1e26\n": false,
		"":                                   false,
	} {
		if got := waitsForEvents(text); runtime.GOARCH == "amd64" && got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// The kernel's files about a process can be as long as the process wants.
func TestEndlessFilesOfProc(t *testing.T) {
	line := "7f16ba536000-7f16bbcdd000 rw-s 00000000 00:01 1024 /dev/zero (deleted)\n"
	_, err := parseMaps(strings.NewReader(strings.Repeat(line, mapsMost+1)), anyMapping)
	haproxytest.Printable(t, err)
	_, err = parseMaps(strings.NewReader(strings.Repeat("\x1b", 10_000)+"\n"), anyMapping)
	haproxytest.Printable(t, err)
}

func FuzzParsers(f *testing.F) {
	for _, s := range []string{maps26, statLine, statusText, uidMap, rollup} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		maps, _ := parseMaps(strings.NewReader(s), anyMapping)
		for _, m := range maps {
			if m.End <= m.Start {
				t.Errorf("maps: %+v", m)
			}
		}
		waitsForEvents(s)
		parseStat([]byte(s))
		parseStatus([]byte(s))
		insideOf(s, 1000)
		parseRollup([]byte(s))
	})
}
