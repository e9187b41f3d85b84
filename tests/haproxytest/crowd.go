package haproxytest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const crowdEnv = "HAPRESSURE_CROWD"

// A test's own program, started again by Crowd, is the crowd.
func init() {
	if size := os.Getenv(crowdEnv); size != "" {
		if err := crowd(size); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// Crowd starts a program that resembles HAProxy and has many children, which all share
// the same many sockets, and returns the pids of all, the parent first. They end with the
// test. Whatever examines each socket of each child never comes to an end. It skips the
// test under -short.
func Crowd(t testing.TB, children, sockets int) []int {
	t.Helper()
	if testing.Short() {
		t.Skip("examines hundreds of processes: left out under -short")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(Lookalike(t, self, "haproxy"))
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", crowdEnv, children, sockets))
	_, out := StartChild(t, cmd)
	if said, err := out.ReadString('\n'); said != "ready\n" {
		t.Fatalf("the crowd says %q, %v", said, err)
	}
	pids := []int{cmd.Process.Pid}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	if len(pids) != children+1 {
		t.Fatalf("the crowd has %d processes, want %d", len(pids), children+1)
	}
	return pids
}

func crowd(size string) error {
	var children, sockets int
	if _, err := fmt.Sscan(size, &children, &sockets); err != nil {
		return err
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	for range sockets {
		if _, err := unix.Dup(ends[0]); errors.Is(err, unix.EMFILE) {
			break // as many as this machine lets a process have
		} else if err != nil {
			return fmt.Errorf("making %d descriptors: %w", sockets, err)
		}
	}
	for range children {
		if err := cloneFiles(); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// cloneFiles makes a child that shares all descriptors (CLONE_FILES), does nothing, and
// ends with its parent.
//
//go:norace
func cloneFiles() error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_FILES|uintptr(unix.SIGCHLD), 0, 0,
		0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
		for {
			unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
	}
	return nil
}
