package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Contents is what a worker's configuration holds, as far as its CLI counts it. It does
// not change in a stopping worker.
type Contents struct {
	MapEntries   uint64 // in all maps
	ACLEntries   uint64 // in all ACLs
	Largest      Pattern
	Certificates int
	Backends     int
	Servers      int
}

// Pattern is a map or an ACL.
type Pattern struct {
	File    string // "" if it stands in the configuration itself
	Entries uint64
}

// maxList bounds the answers that have one line for each certificate or server: some
// 40,000. More are not counted.
const maxList = 4 << 20

// Contents asks the worker what its configuration holds: five questions, so it is not for
// each tick. Errors are those of Info.
func (c *Client) Contents(ctx context.Context) (n Contents, err error) {
	patterns := func(sum *uint64) func(string) error {
		return func(answer string) error { return n.addPatterns(answer, sum) }
	}
	lines := func(count *int) func(string) error {
		return func(answer string) error { *count = countLines(answer); return nil }
	}
	for _, question := range []struct {
		command string
		count   func(answer string) error
	}{
		{"show map", patterns(&n.MapEntries)},
		{"show acl", patterns(&n.ACLEntries)},
		{"show ssl cert", lines(&n.Certificates)},
		{"show backend", lines(&n.Backends)},
		{"show servers conn", lines(&n.Servers)},
	} {
		answer, err := c.ask(ctx, question.command, maxList)
		if errors.Is(err, errTooLong) {
			answer, err = answer[:strings.LastIndexByte(answer, '\n')+1], nil
		}
		if err == nil {
			err = question.count(answer)
		}
		if err != nil {
			return Contents{}, err
		}
	}
	return n, nil
}

var entryCount = regexp.MustCompile(`^-?\d+ \((.*?)\) .* entry_cnt=(\d+)$`)

// addPatterns parses the answer to `show map` or `show acl` (src/pattern.c,
// cli_io_handler_pats_list) and adds the entries to sum.
//
//	# id (file) description
//	0 (/etc/haproxy/hosts.map) pattern loaded from file ... next_ver=0 entry_cnt=50
func (n *Contents) addPatterns(answer string, sum *uint64) error {
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := entryCount.FindStringSubmatch(line)
		if m == nil {
			return fmt.Errorf("parsing show map or show acl line %.100q: no entry_cnt", line)
		}
		entries, err := strconv.ParseUint(m[2], 10, 48)
		if err != nil {
			return fmt.Errorf("parsing show map or show acl line %.100q: %.100w", line, err)
		}
		if *sum += entries; entries > n.Largest.Entries {
			n.Largest = Pattern{m[1], entries}
		}
	}
	return nil
}

// countLines counts the lines of an answer that are entries, not headings or comments. A
// certificate that is being changed by a transaction stands there twice, once after *.
func countLines(answer string) (n int) {
	for line := range strings.Lines(answer) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != '*' {
			n++
		}
	}
	return n
}
