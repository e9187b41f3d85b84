package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
)

const (
	ksmDir = "/sys/kernel/mm/ksm/"

	// ksmScans is how often all pages are scanned: one is merged when a second scan finds
	// it unchanged.
	ksmScans = 3
)

// ksm measures what the kernel's merging of equal pages saves of two generations with the
// same large configuration, started as systemd does with MemoryKSM=yes.
func (s settings) ksm(ctx context.Context, t *table) error {
	for _, program := range s.programs() {
		release, err := releaseOf(program)
		if err != nil {
			return err
		}
		if err := s.ksmOf(ctx, t, program, release); err != nil {
			return fmt.Errorf("HAProxy %s: %w", release, err)
		}
	}
	return nil
}

func (s settings) ksmOf(ctx context.Context, t *table, program, release string) error {
	w, err := s.startLarge(ctx, program, "/proc/self/exe", "mergeable")
	if err != nil {
		return err
	}
	defer w.stop()
	ksmd, err := exec.CommandContext(ctx, "pidof", "ksmd").Output()
	if err != nil {
		return errors.New("looking for ksmd: this kernel has no KSM")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(ksmd)))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"pages_to_scan": strconv.Itoa(s.ksmPages),
		"run": "1"} {
		was, err := os.ReadFile(ksmDir + name)
		if err != nil {
			return err
		}
		defer os.WriteFile(ksmDir+name, was, 0)
		if err := os.WriteFile(ksmDir+name, []byte(value), 0); err != nil {
			return err
		}
	}
	defer os.WriteFile(ksmDir+"run", []byte("2"), 0) // what was merged is parted
	first, err := ksmFigure("full_scans")
	if err != nil {
		return err
	}
	began, cpu := time.Now(), cpuOf(pid)
	for {
		scans, err := ksmFigure("full_scans")
		if err != nil {
			return err
		}
		progress("HAProxy %s: KSM has made %d of %d scans", release, scans-first, ksmScans)
		if scans >= first+ksmScans {
			break
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	took := time.Since(began)
	t.add(release+": KSM", "%d scans took %.0f s, and ksmd %.0f %% of a CPU", ksmScans,
		took.Seconds(), 100*(cpuOf(pid)-cpu).Seconds()/took.Seconds())
	for _, name := range []string{"pages_shared", "pages_sharing", "pages_unshared",
		"pages_volatile", "pages_skipped", "general_profit"} {
		n, err := ksmFigure(name)
		if err != nil {
			return err
		}
		t.add(release+": KSM, "+name, "%d", n)
	}
	workers, err := w.workers()
	if err != nil {
		return err
	}
	for _, pid := range workers {
		stat, err := proc.ReadFile("/proc", pid, "ksm_stat")
		if err != nil {
			return err
		}
		st, err := proc.ReadStatus("/proc", pid)
		if err != nil {
			return err
		}
		t.add(fmt.Sprintf("%s: KSM, worker %d", release, pid), "%.0f MiB in RAM; %s",
			mibs(st.RSSAnon), strings.Join(strings.Fields(string(stat)), " "))
	}
	return nil
}

// ksmFigure reads a figure of /sys/kernel/mm/ksm (Documentation/admin-guide/mm/ksm.rst).
func ksmFigure(name string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(ksmDir, name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// mergeable becomes another program whose memory the kernel may merge, and whose
// children's too (PR_SET_MEMORY_MERGE(2const)).
func mergeable(args []string) error {
	if err := unix.Prctl(unix.PR_SET_MEMORY_MERGE, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("permitting KSM to merge memory (Linux 6.4): %w", err)
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return unix.Exec(path, args, os.Environ())
}
