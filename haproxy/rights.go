package haproxy

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Right is something that this process needs: a capability, a system call that a filter
// may refuse, or a setting of the kernel.
type Right struct {
	Name    string   `json:"name"`    // of the right
	Actions []string `json:"actions"` // of policies that need it; none: all work without it
	Where   string   `json:"where"`   // they cannot be done; empty = everywhere
	Why     string   `json:"why"`     // it is needed
	Missing string   `json:"missing"` // what shows that it is missing
	Remedy  string   `json:"remedy"`  // what to do

	probe func(procfs string) error
}

// Actions that need the same rights.
var (
	purges    = []string{"purge-ssl-cache", "purge-http-cache"}
	signals   = []string{"trim-pools", "hard-stop-after", "terminate-oldest"}
	pageOut   = []string{"page-out"}
	anyAction = slices.Concat(purges, signals, pageOut)
)

// rights was found by doing each action without each of them
// (TestRightsAreWhatActionsNeed). docs/packaging.md has the same table.
var rights = []Right{
	{Name: "CAP_SYS_PTRACE", Actions: anyAction,
		Why:   "see what processes of other users run and map, and freeze a worker",
		probe: capability(unix.CAP_SYS_PTRACE)},
	{Name: "CAP_DAC_OVERRIDE", Actions: anyAction,
		Where: "where another user than root started HAProxy",
		Why:   "see the sockets of that user's processes",
		probe: capability(unix.CAP_DAC_OVERRIDE)},
	{Name: "CAP_CHECKPOINT_RESTORE", Actions: purges,
		Why:   "open the memory of a cache by /proc/PID/map_files",
		probe: followMapFiles},
	{Name: "CAP_KILL", Actions: signals,
		Why:   "signal workers, which run as another user",
		probe: capability(unix.CAP_KILL)},
	{Name: "CAP_SYS_NICE", Actions: pageOut,
		Why:   "move memory of another process to swap, and run before others during a freeze",
		probe: capability(unix.CAP_SYS_NICE)},
	{Name: "CAP_SYS_RESOURCE",
		Why:   "watch pressure with windows of other than 2 s",
		probe: capability(unix.CAP_SYS_RESOURCE)},
	{Name: "pidfd_open(2)", Actions: anyAction,
		Why:   "pin a worker, so that no other process with its pid is ever changed",
		probe: call(unix.ESRCH, unix.SYS_PIDFD_OPEN, noPID)},
	{Name: "pidfd_send_signal(2)", Actions: signals,
		Why:   "signal exactly that worker",
		probe: call(unix.EBADF, unix.SYS_PIDFD_SEND_SIGNAL, noFile)},
	{Name: "pidfd_getfd(2)", Actions: anyAction,
		Why:   "examine the sockets of workers, and ask them whether they are stopping",
		probe: call(unix.EBADF, unix.SYS_PIDFD_GETFD, noFile)},
	{Name: "ptrace(2)", Actions: purges,
		Why:   "freeze a worker",
		probe: call(unix.ESRCH, unix.SYS_PTRACE, unix.PTRACE_SEIZE, noPID)},
	{Name: "timer_create(2)", Actions: purges,
		Why:   "have the kernel release a worker that is frozen for too long",
		probe: call(unix.EINVAL, unix.SYS_TIMER_CREATE, noClock)},
	{Name: "fallocate(2)", Actions: purges,
		Why: "give the memory of an emptied cache back",
		probe: call(unix.EBADF, unix.SYS_FALLOCATE, noFile,
			unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1)},
	{Name: "process_madvise(2)", Actions: pageOut,
		Why:   "move memory of another process to swap",
		probe: call(unix.EBADF, unix.SYS_PROCESS_MADVISE, noFile, 0, 0, unix.MADV_PAGEOUT)},
	{Name: "openat2(2)",
		Why:   "read a master's configuration in its own file system",
		probe: call(unix.EINVAL, unix.SYS_OPENAT2, noFile)},
	{Name: "setpriority(2)",
		Why:   "run before others during a freeze",
		probe: call(unix.ESRCH, unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, noPID)},
	{Name: "kernel.yama.ptrace_scope", Actions: anyAction,
		Why:    "examine the sockets of workers and freeze them: 3 forbids it to every process",
		Remedy: "set it to 1 in /etc/sysctl.d and reboot: 3 cannot be taken back",
		probe:  ptraceScope},
}

// remedy is the remedy for a Right that has none of its own.
func remedy(name string) string {
	return "let the service have " + name + ": 'systemctl cat hapressure' shows what takes it " +
		"away (CapabilityBoundingSet=, SystemCallFilter=); " +
		"for a container, --cap-add or its seccomp profile"
}

// MissingRights returns the rights that this process lacks. It asks the kernel, by calls
// that affect no process, no file and no memory.
func MissingRights(procfs string) []Right {
	missing := []Right{}
	for _, r := range rights {
		if err := r.probe(procfs); err != nil {
			r.Missing, r.Remedy = err.Error(), cmp.Or(r.Remedy, remedy(r.Name))
			missing = append(missing, r)
		}
	}
	return missing
}

// String says what is missing, and what cannot be done without it.
func (r Right) String() string {
	lost := strings.Join(r.Actions, ", ") + " cannot be done"
	switch len(r.Actions) {
	case 0:
		lost = "every action can be done"
	case len(anyAction):
		lost = "no action can be done"
	}
	text := fmt.Sprintf("%s: %s; needed to %s; %s %s", r.Name, r.Missing, r.Why, lost, r.Where)
	return strings.TrimSpace(text)
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
