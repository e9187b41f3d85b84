package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// OOMScoreAdj reads /proc/PID/oom_score_adj: what is added to the score by which the
// kernel selects a process to kill when memory runs out, from -1000 to 1000.
func (p *Process) OOMScoreAdj() (int, error) {
	b, err := p.ReadFile("oom_score_adj")
	if err != nil {
		return 0, err
	}
	adj, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 0, fmt.Errorf("parsing oom_score_adj of pid %d: %w", p.PID, err)
	}
	return adj, nil
}

// RaiseOOMScoreAdj raises oom_score_adj to adj, of exactly this process if it runs the
// program with this path, and returns what it was. A higher value stays. No capability is
// needed to raise it (fs/proc/base.c, __set_oom_adj).
func (p *Process) RaiseOOMScoreAdj(adj int, program string) (was int, err error) {
	f, err := os.OpenFile(p.Path("oom_score_adj"), os.O_WRONLY, 0)
	if err != nil {
		return 0, fmt.Errorf("raising oom_score_adj of pid %d: %w", p.PID, goneError(err))
	}
	defer f.Close()
	if was, err = p.OOMScoreAdj(); err != nil || was >= adj {
		return was, err
	}
	// That the process lives after the file was opened shows that the file is its own.
	if err := p.CheckProgram(program); err != nil {
		return was, err
	}
	if _, err := f.WriteString(strconv.Itoa(adj)); err != nil {
		return was, fmt.Errorf("raising oom_score_adj of pid %d from %d to %d: %w", p.PID, was, adj,
			goneError(err))
	}
	return was, nil
}

// ReapMemory frees the memory of the process, which must have been killed, without
// waiting until the process itself gets a CPU to do so (process_mrelease(2), Linux 5.15).
// It is only an acceleration: any error means that the memory is freed as usual.
func (p *Process) ReapMemory() error {
	_, _, errno := unix.Syscall(unix.SYS_PROCESS_MRELEASE, uintptr(p.pidfd), 0, 0)
	if errno != 0 {
		return fmt.Errorf("freeing the memory of pid %d: %w", p.PID, errno)
	}
	return nil
}
