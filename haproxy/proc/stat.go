package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrGone means that the process has ended, or that its pid belongs to another one.
var ErrGone = errors.New("process is gone")

// FileLimit bounds what is read of a file of /proc/PID, in bytes. A process can make its
// command line and its environment as long as its memory (prctl(2), PR_SET_MM_MAP).
const FileLimit = 4 << 20

// ReadFile reads at most FileLimit bytes of a file of /proc/PID. ErrGone: the process has
// ended, before or meanwhile.
func ReadFile(procfs string, pid int, name string) (b []byte, err error) {
	f, err := os.Open(filepath.Join(procfs, strconv.Itoa(pid), name))
	if err == nil {
		defer f.Close()
		b, err = io.ReadAll(io.LimitReader(f, FileLimit))
	}
	return b, goneError(err)
}

// goneError returns ErrGone for an error with which the kernel refuses files of an ended
// process.
func goneError(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	return err
}

// Program returns the path of the program that a process runs (/proc/PID/exe). An upgrade
// of a package leaves old processes of a deleted file: for these it is the former path.
func Program(procfs string, pid int) (string, error) {
	exe, err := os.Readlink(filepath.Join(procfs, strconv.Itoa(pid), "exe"))
	return strings.TrimSuffix(exe, " (deleted)"), goneError(err)
}

// Namespace identifies a namespace of a process (namespaces(7)); kind is "pid", "net",
// "user" or "mnt".
//
//	pid:[4026531836]
func Namespace(procfs string, pid int, kind string) (string, error) {
	ns, err := os.Readlink(filepath.Join(procfs, strconv.Itoa(pid), "ns", kind))
	return ns, goneError(err)
}

// Stat is a part of /proc/PID/stat (proc_pid_stat(5)).
type Stat struct {
	Comm  string // the program's name, which the process can set to any text
	State byte
	PPID  int
	CPU   time.Duration // used by all of its threads, in steps of 10 ms
	Start uint64        // in clock ticks since boot
}

// ReadStat reads /proc/PID/stat.
func ReadStat(procfs string, pid int) (Stat, error) {
	b, err := ReadFile(procfs, pid, "stat")
	if err != nil {
		return Stat{}, err
	}
	return parseStat(b)
}

// parseStat parses /proc/PID/stat. The command may contain spaces and parentheses, so the
// fields are counted from the last closing one.
//
//	3831 (haproxy) S 3828 3828 3820 0 -1 4194368 1211 0 0 0 5 3 0 0 20 0 2 0 98765 ...
func parseStat(b []byte) (Stat, error) {
	open, i := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || i < open {
		return Stat{}, fmt.Errorf("parsing stat %q: no command", b)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 || len(f[0]) != 1 {
		return Stat{}, fmt.Errorf("parsing stat %q: %d fields after the name, want 20", b, len(f))
	}
	ppid, err := strconv.Atoi(f[1])
	if err != nil {
		return Stat{}, fmt.Errorf("parsing parent in stat %q: %w", b, err)
	}
	var ticks [3]uint64
	for i, field := range []int{11, 12, 19} { // user and system time, start time
		if ticks[i], err = strconv.ParseUint(f[field], 10, 64); err != nil {
			return Stat{}, fmt.Errorf("parsing times in stat %q: %w", b, err)
		}
	}
	return Stat{Comm: string(b[open+1 : i]), State: f[0][0], PPID: ppid,
		CPU: Between(0, ticks[0]+ticks[1]), Start: ticks[2]}, nil
}

// Status is a part of /proc/PID/status (proc_pid_status(5)). Sizes are in bytes.
type Status struct {
	RSSAnon  uint64 // private memory in RAM
	RSSFile  uint64 // mapped files in RAM that the process's page tables show
	RSSShmem uint64 // shared anonymous memory in RAM that the process's page tables show
	Swap     uint64 // private memory in swap
	Tables   uint64 // its page tables
	Slots    uint64 // of its table of descriptors, most of which may be free
	Threads  int
	UID      uint32 // effective user
	NSPID    int    // the pid in the process's own pid namespace
	Depth    int    // of that namespace; 1 is this process's own
	Bounding uint64 // capabilities that it can ever get: bit n for capability n
	Caught   uint64 // signals that have a handler: bit n-1 for signal n
	Pending  uint64 // signals that no thread of the process has taken yet
}

// Private is the memory that only this process holds, in RAM or in swap, in bytes.
func (s Status) Private() uint64 { return s.RSSAnon + s.Swap }

// InRAM is the memory in RAM that the page tables of the process show, in bytes.
func (s Status) InRAM() uint64 { return s.RSSAnon + s.RSSShmem }

// Kernel is what the kernel itself holds for the process, in bytes: page tables, and the
// table of descriptors with a pointer and two bits for each (fs/file.c, alloc_fdtable).
// Other objects, such as sockets, are not attributed to a process.
func (s Status) Kernel() uint64 { return s.Tables + 8*s.Slots + s.Slots/4 }

// ReadStatus reads /proc/PID/status.
func ReadStatus(procfs string, pid int) (Status, error) {
	b, err := ReadFile(procfs, pid, "status")
	if err != nil {
		return Status{}, err
	}
	return parseStatus(b)
}

func parseStatus(b []byte) (Status, error) {
	var s Status
	seen := 0
	for line := range strings.Lines(string(b)) {
		key, rest, _ := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if len(f) == 0 {
			continue
		}
		var err error
		seen++
		switch key {
		case "RssAnon":
			s.RSSAnon, err = parseKB(f)
		case "RssFile":
			s.RSSFile, err = parseKB(f)
		case "RssShmem":
			s.RSSShmem, err = parseKB(f)
		case "VmPTE":
			s.Tables, err = parseKB(f)
		case "FDSize":
			s.Slots, err = strconv.ParseUint(f[0], 10, 32)
		case "Threads":
			s.Threads, err = strconv.Atoi(f[0])
		case "Uid":
			var uid uint64
			uid, err = strconv.ParseUint(f[min(1, len(f)-1)], 10, 32)
			s.UID = uint32(uid)
		case "NSpid":
			s.NSPID, err = strconv.Atoi(f[len(f)-1])
			s.Depth = len(f)
		case "CapBnd":
			s.Bounding, err = strconv.ParseUint(f[0], 16, 64)
		case "SigCgt":
			s.Caught, err = strconv.ParseUint(f[0], 16, 64)
		case "ShdPnd":
			s.Pending, err = strconv.ParseUint(f[0], 16, 64)
		case "VmSwap": // absent on a kernel without swap
			s.Swap, err = parseKB(f)
			seen--
		default:
			seen--
		}
		if err != nil {
			return Status{}, fmt.Errorf("parsing status line %q: %w", line, err)
		}
	}
	if seen != 11 {
		return Status{}, errors.New("parsing status: no Uid, FDSize, RssAnon, RssFile, RssShmem, " +
			"VmPTE, Threads, NSpid, ShdPnd, SigCgt or CapBnd (a kernel thread or a zombie)")
	}
	return s, nil
}

func parseKB(f []string) (uint64, error) {
	if len(f) != 2 || f[1] != "kB" {
		return 0, errors.New("not a size in kB")
	}
	n, err := strconv.ParseUint(f[0], 10, 54)
	return n << 10, err
}

// userHZ is the unit of start times, in ticks a second: 100 on every machine that Go
// supports (asm-generic/param.h).
const userHZ = 100

// BootTicks returns the time since boot in clock ticks, the unit of start times.
func BootTicks() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // every Linux that has pidfds has this clock
	}
	return uint64(ts.Nano()) * userHZ / uint64(time.Second)
}

// Between returns the time from one clock tick to another; 0 if the order is reversed.
func Between(then, now uint64) time.Duration {
	return time.Duration(now-min(now, then)) * (time.Second / userHZ)
}
