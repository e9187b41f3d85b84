package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// processes is what HAProxy's master says of itself and its workers (`show proc`).
type processes struct {
	Master       int
	FailedReload int   // [failed: N]: reloads failed since the last that went well
	Workers      []int // under "# workers"; empty after a failed reload in some versions
	OldWorkers   []int
}

// parseProcesses reads the answer to `show proc` (HAProxy's doc/management.txt):
//
//	#<PID>          <type>          <reloads>       <uptime>        <version>
//	1162            master          5 [failed: 0]   0d00h02m07s     2.6.12-1+deb12u4
//	# workers
//	1271            worker          1               0d00h00m00s     2.6.12-1+deb12u4
//	# old workers
//	1233            worker          3               0d00h00m43s     2.6.12-1+deb12u4
//	# programs
func parseProcesses(r io.Reader) (processes, error) {
	var p processes
	section := ""
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if title, ok := strings.CutPrefix(line, "#"); ok {
			section = strings.TrimSpace(title)
			continue
		}
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		pid, err := strconv.Atoi(fields[0])
		if err != nil || pid <= 0 || len(fields) < 2 {
			return processes{}, fmt.Errorf("parsing show proc: %q is not a process", line)
		}
		switch {
		case fields[1] == "master":
			p.Master = pid
			p.FailedReload, err = failedReloads(line)
			if err != nil {
				return processes{}, fmt.Errorf("parsing show proc: %w", err)
			}
		case section == "workers":
			p.Workers = append(p.Workers, pid)
		case section == "old workers":
			p.OldWorkers = append(p.OldWorkers, pid)
		}
	}
	if err := lines.Err(); err != nil {
		return processes{}, fmt.Errorf("reading show proc: %w", err)
	}
	if p.Master == 0 {
		return processes{}, fmt.Errorf("parsing show proc: no master in it")
	}
	return p, nil
}

// failedReloads finds N in "[failed: N]" of the master's line; a version without it has
// none to report.
func failedReloads(line string) (int, error) {
	_, rest, found := strings.Cut(line, "[failed:")
	if !found {
		return 0, nil
	}
	number, _, _ := strings.Cut(rest, "]")
	return strconv.Atoi(strings.TrimSpace(number))
}

// showProc asks the master for its processes. While it reloads the socket refuses for a
// second or more.
func showProc(ctx context.Context, socket string) (processes, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return processes{}, fmt.Errorf("asking the master for its processes: %w", err)
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	if _, err := io.WriteString(c, "show proc\n"); err != nil {
		return processes{}, fmt.Errorf("asking the master for its processes: %w", err)
	}
	// The master keeps the connection open for more commands until the client ends its
	// side.
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		return processes{}, fmt.Errorf("asking the master for its processes: %w", err)
	}
	return parseProcesses(c)
}
