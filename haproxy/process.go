package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrGone says that the process meant has ended, or that its pid now belongs to another one.
var ErrGone = errors.New("process is gone")

// ID names a process for good: a pid can be used again, a pid with its start time cannot.
type ID struct {
	PID   int    `json:"PID"`
	Start uint64 `json:"Start"` // field 22 of /proc/PID/stat, clock ticks since boot
}

// Process is a running process pinned by a pidfd: whatever is done through it can never reach another process that
// was given the same pid.
type Process struct {
	ID
	procfs string
	pidfd  int
	shared map[int][]uint64 // of its Worker
	exe    string           // what it must still be running to get a signal; "" = anything
}

// OpenProcess pins the process named by id. It fails with ErrGone if that process has ended, and also if its pid is in
// use again. A zero id.Start accepts whatever start time is found.
func OpenProcess(procfs string, id ID) (*Process, error) {
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("opening pid %d: %w", id.PID, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("opening a pidfd of pid %d: %w", id.PID, err)
	}
	p := &Process{ID: id, procfs: procfs, pidfd: fd}
	// The pidfd is held while the start time is read: if the process is still alive afterwards, what was read was its
	// own and not a successor's.
	st, err := readStat(procfs, id.PID)
	if err == nil && !p.Alive() {
		err = ErrGone
	}
	if err == nil && id.Start != 0 && st.start != id.Start {
		err = fmt.Errorf("%w: started at tick %d, not %d", ErrGone, st.start, id.Start)
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("opening pid %d: %w", id.PID, err)
	}
	p.Start = st.start
	return p, nil
}

// Close lets go of the process; it goes on running.
func (p *Process) Close() error { return unix.Close(p.pidfd) }

// Alive reports whether the process has not ended. A zombie has ended.
func (p *Process) Alive() bool {
	fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n == 0
	}
}

// Signal sends sig to exactly this process (pidfd_send_signal(2)).
func (p *Process) Signal(sig unix.Signal) error {
	err := p.sameProgram()
	if err == nil {
		err = unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
	}
	if errors.Is(err, unix.ESRCH) {
		err = ErrGone
	}
	if err != nil {
		return fmt.Errorf("sending %s to pid %d: %w", unix.SignalName(sig), p.PID, err)
	}
	return nil
}

// sameProgram makes sure that the process has not become another program since it was found. A pid and a start time outlive execve(2).
func (p *Process) sameProgram() error {
	if p.exe == "" || !p.Alive() {
		return nil
	}
	now, err := readProc(p.procfs, p.PID)
	if err == nil && now.exe != p.exe {
		err = fmt.Errorf("%w: it runs %.100q by now", ErrNotStopping, now.exe)
	}
	return err
}

// WaitExit returns nil once the process has ended, or the context's error.
func (p *Process) WaitExit(ctx context.Context) error {
	fd, err := unix.FcntlInt(uintptr(p.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("waiting for pid %d: %w", p.PID, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd") // it does not block, so the runtime waits for it as for a socket
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	conn, err := f.SyscallConn()
	if err == nil {
		err = conn.Read(func(uintptr) bool { return !p.Alive() })
	}
	switch {
	case err == nil || !p.Alive():
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("waiting for pid %d: %w", p.PID, err)
}

func (p *Process) path(name string) string {
	return filepath.Join(p.procfs, strconv.Itoa(p.PID), name)
}

// stat is what we need of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	comm  string // the program's name, of which the process may make anything
	state byte
	ppid  int
	start uint64
}

// procLimit bounds what is read of a file of /proc/PID, in bytes: a process can make its command line and its environment as long as its
// memory (prctl(2), PR_SET_MM_MAP).
const procLimit = 4 << 20

// readProcFile reads a file of /proc/PID, procLimit bytes of it at the most; ErrGone: the process has ended, before or meanwhile.
func readProcFile(procfs string, pid int, name string) (b []byte, err error) {
	f, err := os.Open(filepath.Join(procfs, strconv.Itoa(pid), name))
	if err == nil {
		defer f.Close()
		b, err = io.ReadAll(io.LimitReader(f, procLimit))
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		err = ErrGone
	}
	return b, err
}

// Runs reports whether HAProxy, by its name (/proc/PID/comm), is among the processes.
func Runs(procfs string, pids []int) bool {
	return slices.ContainsFunc(pids, func(pid int) bool {
		name, err := readProcFile(procfs, pid, "comm")
		return err == nil && bytes.HasPrefix(name, []byte("haproxy"))
	})
}

func readStat(procfs string, pid int) (stat, error) {
	b, err := readProcFile(procfs, pid, "stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// parseStat reads one line of /proc/PID/stat. The command may hold spaces and parentheses: fields are counted from the
// last closing one.
func parseStat(b []byte) (stat, error) {
	open, i := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || i < open {
		return stat{}, fmt.Errorf("parsing stat %q: no command", b)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 || len(f[0]) != 1 {
		return stat{}, fmt.Errorf("parsing stat %q: %d fields after the command, want at least 20", b, len(f))
	}
	ppid, err := strconv.Atoi(f[1])
	if err != nil {
		return stat{}, fmt.Errorf("parsing parent in stat %q: %w", b, err)
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("parsing start time in stat %q: %w", b, err)
	}
	return stat{comm: string(b[open+1 : i]), state: f[0][0], ppid: ppid, start: start}, nil
}

// status is what we need of /proc/PID/status.
type status struct {
	rssAnon  uint64 // bytes of private memory in RAM
	rssShmem uint64 // bytes of shared anonymous memory in RAM that its page tables show
	swap     uint64 // bytes of private memory in swap
	threads  int
	uid      uint32 // whom it runs as (effective)
	nspid    int    // the pid as the process sees itself, in its own pid namespace
	depth    int    // of that namespace; 1 is ours
	caught   uint64 // signals that have a handler: bit n-1 for signal n
	pending  uint64 // signals that no thread of the process has taken yet
}

func readStatus(procfs string, pid int) (status, error) {
	b, err := readProcFile(procfs, pid, "status")
	if err != nil {
		return status{}, err
	}
	return parseStatus(b)
}

func parseStatus(b []byte) (status, error) {
	var s status
	var seen int
	for line := range strings.Lines(string(b)) {
		key, rest, _ := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if len(f) == 0 {
			continue
		}
		var err error
		switch key {
		case "RssAnon":
			s.rssAnon, err = parseKB(f)
			seen++
		case "RssShmem":
			s.rssShmem, err = parseKB(f)
			seen++
		case "VmSwap":
			s.swap, err = parseKB(f)
		case "Threads":
			s.threads, err = strconv.Atoi(f[0])
			seen++
		case "Uid":
			var uid uint64
			uid, err = strconv.ParseUint(f[min(1, len(f)-1)], 10, 32)
			s.uid = uint32(uid)
			seen++
		case "NSpid":
			s.nspid, err = strconv.Atoi(f[len(f)-1])
			s.depth = len(f)
			seen++
		case "SigCgt":
			s.caught, err = strconv.ParseUint(f[0], 16, 64)
			seen++
		case "ShdPnd":
			s.pending, err = strconv.ParseUint(f[0], 16, 64)
			seen++
		}
		if err != nil {
			return status{}, fmt.Errorf("parsing status line %q: %w", line, err)
		}
	}
	if seen != 7 {
		return status{}, errors.New("parsing status: no Uid, RssAnon, RssShmem, Threads, NSpid, ShdPnd or SigCgt (a kernel thread or a zombie)")
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
