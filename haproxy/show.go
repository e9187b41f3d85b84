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

// Info is what we need of `show info` (src/stats.c, stats_fill_info).
type Info struct {
	PID         int
	Stopping    bool
	Connections int // CurrConns: without those of the CLI
	Listeners   int // that still accept, and Unstoppable ones: the worker's end of the socket pair to its master
	Unstoppable int // Unstoppable Jobs
}

// ParseShowInfo reads the answer to `show info`. A missing line is an error: absent is not zero.
func ParseShowInfo(answer string) (Info, error) {
	var in Info
	want := map[string]bool{"Pid": true, "Stopping": true, "CurrConns": true, "Listeners": true, "Unstoppable Jobs": true}
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
		case "Listeners":
			in.Listeners, err = strconv.Atoi(value)
		case "Unstoppable Jobs":
			in.Unstoppable, err = strconv.Atoi(value)
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
