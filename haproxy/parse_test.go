package haproxy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// statusText is a status as a real worker had it.
const statusText = "Name:\thaproxy\nUid:\t0\t104\t104\t104\nFDSize:\t256\nNSpid:\t3831\t7\n" +
	"Threads:\t4\nVmRSS:\t   12000 kB\nRssAnon:\t    4980 kB\nRssFile:\t    6948 kB\n" +
	"RssShmem:\t      72 kB\nVmPTE:\t      92 kB\nVmSwap:\t      20 kB\n" +
	"ShdPnd:\t0000000000000004\nSigCgt:\t0000000180014f07\nCapBnd:\t00000000a80425fb\n"

// A master that is read in the middle of execve(2) has no command line. Its workers are
// remembered all the same. The moment is too short for a test, so the files are made up.
func TestScanOfAMasterInExec(t *testing.T) {
	procfs := t.TempDir()
	put := func(pid, ppid int, cmdline string) {
		dir := filepath.Join(procfs, fmt.Sprint(pid))
		stat := fmt.Sprintf("%d (haproxy) S %d%s %d 0", pid, ppid, strings.Repeat(" 0", 17),
			1000+pid)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/stat", []byte(stat),
			0o644),
			os.WriteFile(dir+"/cmdline", []byte(cmdline), 0o644), os.WriteFile(dir+"/status",
				[]byte(statusText), 0o644)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/usr/sbin/haproxy", dir+"/exe"); err != nil && !errors.Is(err,
			os.ErrExist) {
			t.Fatal(err)
		}
	}
	const master, worker = 1 << 30, 1<<30 + 1 // no process has these pids
	put(master, 1, "haproxy\x00-W\x00")
	put(worker, master, "haproxy\x00-W\x00")
	s := NewScanner(procfs)
	pids := []int{master, worker}
	found, err := s.Scan(t.Context(), pids)
	if err != nil || len(found) != 1 || len(found[0].Workers) != 1 ||
		found[0].Workers[0].State != StateUnknown {
		t.Fatalf("%+v, %v, want one worker of which nothing is known", found, err)
	}
	put(master, 1, "")
	if found, err := s.Scan(t.Context(), pids); err != nil || len(found) != 1 ||
		len(found[0].Workers) != 1 {
		t.Errorf("%+v, %v, want the master as it was", found, err)
	}
	put(master, 1, "haproxy\x00-W\x00")
	if found, err := s.Scan(t.Context(), pids); err != nil || found[0].Workers[0].Generation != 1 {
		t.Errorf("%+v, %v, want the same generation as before", found, err)
	}
	// A process that runs another program is no longer a worker, and does not hide the
	// others.
	exe := filepath.Join(procfs, fmt.Sprint(worker), "exe")
	if err := errors.Join(os.Remove(exe), os.Symlink("/bin/sh", exe)); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Scan(t.Context(), pids); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v, want nothing: the worker runs another program", found, err)
	}
	if found, err := s.Scan(t.Context(), pids[:1]); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v, want nothing: the worker has ended", found, err)
	}
}
