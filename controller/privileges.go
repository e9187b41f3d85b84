package controller

import (
	"cmp"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"hapressure/controller/status"
	"hapressure/policy"
)

// privilege is something that the kernel must allow: a capability, a system call that a
// filter may refuse, or a setting.
type privilege struct {
	name    string
	actions []string // that need it; none: all work without it
	where   string   // they need it; "" = everywhere
	why     string   // they need it
	remedy  string   // "" = the usual one
	probe   func(procfs string) error
}

// Actions that need the same privileges.
var (
	purges    = []string{policy.PurgeSSLCache, policy.PurgeHTTPCache}
	signals   = []string{policy.TrimPools, policy.HardStopAfter, policy.TerminateOldest}
	pageOut   = []string{policy.Cold, policy.PageOut}
	anyAction = policy.Kinds
)

// privileges was found by performing each action without each of them
// (TestPrivilegesAreWhatActionsNeed). docs/packaging.md has the same table.
var privileges = []privilege{
	{name: "CAP_SYS_PTRACE", actions: anyAction,
		why:   "see what processes of other users run and map, and freeze a worker",
		probe: capability(unix.CAP_SYS_PTRACE)},
	{name: "CAP_DAC_OVERRIDE", actions: anyAction,
		where: "where another user than root started HAProxy",
		why:   "see the sockets of that user's processes",
		probe: capability(unix.CAP_DAC_OVERRIDE)},
	{name: "CAP_CHECKPOINT_RESTORE", actions: purges,
		why:   "open the memory of a cache by /proc/PID/map_files",
		probe: followMapFiles},
	{name: "CAP_KILL", actions: signals,
		why:   "signal workers, which run as another user",
		probe: capability(unix.CAP_KILL)},
	{name: "CAP_SYS_NICE", actions: pageOut,
		why:   "advise on memory of another process, and run before others during a freeze",
		probe: capability(unix.CAP_SYS_NICE)},
	{name: "CAP_SYS_RESOURCE",
		why:   "watch pressure with windows of other than 2 s",
		probe: capability(unix.CAP_SYS_RESOURCE)},
	{name: "pidfd_open(2)", actions: anyAction,
		why:   "pin a worker, so that no other process with its pid is ever changed",
		probe: call(unix.ESRCH, unix.SYS_PIDFD_OPEN, noPID)},
	{name: "pidfd_send_signal(2)", actions: signals,
		why:   "signal exactly that worker",
		probe: call(unix.EBADF, unix.SYS_PIDFD_SEND_SIGNAL, noFile)},
	{name: "pidfd_getfd(2)", actions: anyAction,
		why:   "examine the sockets of workers, and ask them whether they are stopping",
		probe: call(unix.EBADF, unix.SYS_PIDFD_GETFD, noFile)},
	{name: "ptrace(2)", actions: purges,
		why:   "freeze a worker",
		probe: call(unix.ESRCH, unix.SYS_PTRACE, unix.PTRACE_SEIZE, noPID)},
	{name: "timer_create(2)", actions: purges,
		why:   "have the kernel release a worker that is frozen for too long",
		probe: call(unix.EINVAL, unix.SYS_TIMER_CREATE, noClock)},
	{name: "fallocate(2)", actions: purges,
		why: "give the memory of an emptied cache back",
		probe: call(unix.EBADF, unix.SYS_FALLOCATE, noFile,
			unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1)},
	{name: "process_madvise(2)", actions: pageOut,
		why:   "advise on memory of another process",
		probe: call(unix.EBADF, unix.SYS_PROCESS_MADVISE, noFile, 0, 0, unix.MADV_PAGEOUT)},
	{name: "openat2(2)",
		why:   "read a master's configuration in its own file system",
		probe: call(unix.EINVAL, unix.SYS_OPENAT2, noFile)},
	{name: "setpriority(2)",
		why:   "run before others during a freeze",
		probe: call(unix.ESRCH, unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, noPID)},
	{name: "kernel.yama.ptrace_scope", actions: anyAction,
		why:    "examine the sockets of workers and freeze them: 3 forbids it to every process",
		remedy: "set it to 1 in /etc/sysctl.d and reboot: 3 cannot be taken back",
		probe:  ptraceScope},
}

// usualRemedy is the remedy for a privilege that has none of its own.
func usualRemedy(name string) string {
	return "let the service have " + name + ": 'systemctl cat hapressure' shows what takes it " +
		"away (CapabilityBoundingSet=, SystemCallFilter=); " +
		"for a container, --cap-add or its seccomp profile"
}

// MissingPrivileges returns the privileges that this process lacks. It asks the kernel,
// by calls that affect no process, no file and no memory.
func MissingPrivileges(procfs string) []status.Privilege {
	missing := []status.Privilege{}
	for _, p := range privileges {
		if err := p.probe(procfs); err != nil {
			missing = append(missing, status.Privilege{
				Name: p.name, Actions: p.actions, Where: p.where, Why: p.why,
				Missing: err.Error(), Remedy: cmp.Or(p.remedy, usualRemedy(p.name)),
			})
		}
	}
	return missing
}

const (
	noPID   = math.MaxInt32 // above the highest that the kernel gives (PID_MAX_LIMIT)
	noFile  = math.MaxUint  // -1
	noClock = math.MaxInt32
)

// call makes a probe of a system call, with arguments that make it fail with want once it
// is allowed.
func call(want unix.Errno, trap uintptr, args ...uintptr) func(string) error {
	var a [4]uintptr
	copy(a[:], args)
	return func(string) error {
		if _, _, errno := unix.Syscall6(trap, a[0], a[1], a[2], a[3], 0, 0); errno != want {
			return errno
		}
		return nil
	}
}

func capability(bit int) func(string) error {
	return func(string) error {
		var sets [2]unix.CapUserData
		err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0])
		if err == nil && sets[bit/32].Effective&(1<<(bit%32)) == 0 {
			err = errors.New("not in the effective set")
		}
		return err
	}
}

// followMapFiles follows a link to memory of our own: what that needs depends on the
// kernel and on the user namespace.
func followMapFiles(string) error {
	const dir = "/proc/self/map_files"
	maps, err := os.ReadDir(dir)
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, maps[0].Name())) // this program
	}
	return err
}

func ptraceScope(procfs string) error {
	b, err := os.ReadFile(filepath.Join(procfs, "sys/kernel/yama/ptrace_scope"))
	if err == nil && strings.TrimSpace(string(b)) == "3" {
		return errors.New("it is 3")
	}
	return nil // also if the kernel has no Yama
}
