package haproxy

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseShowProc reads the workers, by their pid in the master's pid namespace, in the answer to `show proc` (src/mworker.c,
// cli_io_handler_show_proc), and whether each is listed under "# old workers". After a failed reload that is also where the live worker may
// stand. It is the same for all releases: fields are separated by blanks, the master's row may hold "1 [failed: 0]", sections begin with "#".
func ParseShowProc(answer string) (old map[int]bool, err error) {
	old = map[int]bool{}
	section, header := "", false
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			continue
		case strings.HasPrefix(line, "#<PID>"):
			header = true
			continue
		case strings.HasPrefix(line, "#"):
			section = strings.TrimSpace(line[1:])
			continue
		}
		if !header {
			return nil, fmt.Errorf("parsing show proc: %.100q before its header", line)
		}
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "worker" {
			continue // the master, or a program
		}
		pid, err := strconv.Atoi(f[0])
		if err != nil || pid <= 0 {
			return nil, fmt.Errorf("parsing show proc: %.100q is not a pid", f[0])
		}
		old[pid] = section == "old workers"
	}
	if !header {
		return nil, errors.New("parsing show proc: no header")
	}
	return old, nil
}

// Info is what we need of `show info` (src/stats.c, stats_fill_info).
type Info struct {
	PID         int
	Stopping    bool
	Connections int // CurrConns: without those of the CLI
}

// ParseShowInfo reads the answer to `show info`. A missing line is an error: absent is not zero.
func ParseShowInfo(answer string) (Info, error) {
	var in Info
	want := map[string]bool{"Pid": true, "Stopping": true, "CurrConns": true}
	for line := range strings.Lines(answer) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		if !ok || !want[key] {
			continue
		}
		var err error
		switch key {
		case "Pid":
			in.PID, err = strconv.Atoi(value)
		case "CurrConns":
			in.Connections, err = strconv.Atoi(value)
		case "Stopping":
			if in.Stopping = value == "1"; !in.Stopping && value != "0" {
				err = errors.New("neither 0 nor 1")
			}
		}
		if err != nil {
			return Info{}, fmt.Errorf("parsing show info line %.100q: %.100w", line, err)
		}
		delete(want, key)
	}
	for key := range want {
		return Info{}, fmt.Errorf("parsing show info: no line %q", key)
	}
	return in, nil
}

// ParseShowSess reads the answer to `show sess` and returns the streams that belong to somebody, those that have been idle for longest
// first, maxSessions at the most: their ids as `shutdown session` wants them. Those of the CLI itself are left out (src/stream.c, cli_io_handler_dump_sess).
func ParseShowSess(answer string) ([]string, error) {
	var ids []string
	left := map[string]time.Duration{}
	for line := range strings.Lines(answer) {
		id, rest, ok := strings.Cut(line, ": ")
		if !ok || !strings.HasPrefix(id, "0x") {
			if strings.TrimSpace(line) == "" {
				continue
			}
			return nil, fmt.Errorf("parsing show sess line %.100q: it does not begin with a stream", line)
		}
		if _, err := strconv.ParseUint(id[2:], 16, 64); err != nil {
			return nil, fmt.Errorf("parsing show sess line %.100q: %.100w", line, err)
		}
		if strings.Contains(rest, " fe=GLOBAL ") || strings.HasPrefix(rest, "proto=sockpair ") {
			continue
		}
		ids = append(ids, id)
		left[id] = untilTimeout(rest)
		if len(ids) == maxSessions {
			break
		}
	}
	slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(left[a], left[b]) })
	return ids, nil
}

var receiveTimeout = regexp.MustCompile(`,re?x=([0-9dhms]+)`)

// untilTimeout is how much is left of the timeout for receiving, of the side where that is more: it is set anew with all that comes in, so
// the less is left the longer the stream has been idle.
func untilTimeout(line string) time.Duration {
	var most time.Duration
	for _, m := range receiveTimeout.FindAllStringSubmatch(line, -1) {
		most = max(most, parseHumanTime(m[1]))
	}
	return most
}

// parseHumanTime reads what HAProxy shows a time as, such as 2d3h or 59m57s (src/tools.c, human_time); what it cannot read is 0.
func parseHumanTime(s string) (sum time.Duration) {
	for s != "" {
		i := strings.IndexAny(s, "dhms")
		if i < 0 {
			return 0
		}
		d, err := parseTime(s[:i+1])
		if err != nil {
			return 0
		}
		sum, s = sum+d, s[i+1:]
	}
	return sum
}
