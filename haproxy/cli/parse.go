package cli

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Info is a part of the answer to `show info` (src/stats.c, stats_fill_info).
type Info struct {
	PID         int
	Stopping    bool
	Connections int // CurrConns: without those of the CLI
	Listeners   int // those that still accept, and Unstoppable ones
	Unstoppable int // Unstoppable Jobs: the worker's end of the socket pair to its master
	// In bytes, as PoolAlloc_bytes and PoolUsed_bytes; 0 before 2.5.
	PoolsHeld, PoolsUsed uint64
}

// parseInfo parses the answer to `show info`. A missing line is an error, but for the
// pools': absent is not zero.
//
//	Pid: 3831
//	CurrConns: 1
//	Stopping: 1
//	Unstoppable Jobs: 1
//	Listeners: 1
//	PoolAlloc_bytes: 122840
func parseInfo(answer string) (Info, error) {
	var in Info
	want := map[string]bool{"Pid": true, "Stopping": true, "CurrConns": true, "Listeners": true,
		"Unstoppable Jobs": true}
	for line := range strings.Lines(answer) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		if !ok {
			continue
		}
		var err error
		switch key {
		case "PoolAlloc_bytes":
			in.PoolsHeld, err = strconv.ParseUint(value, 10, 63)
		case "PoolUsed_bytes":
			in.PoolsUsed, err = strconv.ParseUint(value, 10, 63)
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

// maxSessions bounds the sessions of one answer, whose lines can be shorter than
// HAProxy's.
const maxSessions = 1 << 14

// parseSessions parses the answer to `show sess` and returns the ids of the clients'
// streams as `shutdown session` wants them, at most maxSessions. Those that were idle
// longest come first. It omits the streams of the CLI itself (src/stream.c,
// cli_io_handler_dump_sess).
//
//	0x5587a5480d20: proto=tcpv4 src=127.0.0.1:44848 fe=f ... rq[...,rx=59m57s,...] ...
func parseSessions(answer string) ([]string, error) {
	var ids []string
	left := map[string]time.Duration{}
	for line := range strings.Lines(answer) {
		id, rest, ok := strings.Cut(line, ": ")
		if !ok || !strings.HasPrefix(id, "0x") {
			if strings.TrimSpace(line) == "" {
				continue
			}
			return nil, fmt.Errorf("parsing show sess line %.100q: it begins with no stream", line)
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

// untilTimeout returns the time that is left of the timeout for receiving, on the side
// with more. All that arrives sets it again, so the less is left the longer the stream
// was idle.
func untilTimeout(line string) time.Duration {
	var most time.Duration
	for _, m := range receiveTimeout.FindAllStringSubmatch(line, -1) {
		most = max(most, parseHumanTime(m[1]))
	}
	return most
}

// parseHumanTime parses a time as HAProxy shows it, such as 2d3h or 59m57s (src/tools.c,
// human_time). What it cannot parse is 0.
func parseHumanTime(s string) (sum time.Duration) {
	units := map[byte]time.Duration{
		'd': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute, 's': time.Second}
	for s != "" {
		i := strings.IndexAny(s, "dhms")
		if i < 0 {
			return 0
		}
		n, err := strconv.ParseUint(s[:i], 10, 31)
		unit := units[s[i]]
		if err != nil || n > uint64(math.MaxInt32*time.Millisecond/unit) { // timers have 31 bits
			return 0
		}
		sum, s = sum+time.Duration(n)*unit, s[i+1:]
	}
	return sum
}
