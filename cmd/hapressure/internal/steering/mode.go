package steering

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hapressure/policy"
)

// CheckTarget checks the name of a target: a unit, or the path of a cgroup.
func CheckTarget(name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '#' || r == 0x7f }) ||
		!strings.HasPrefix(name, "/") && !strings.Contains(name, ".") || len(name) > 4096 {
		return fmt.Errorf("%q is not the name of a target: write a unit such as haproxy.service, "+
			"or the path of a cgroup", name)
	}
	return nil
}

// CheckMode checks the name of a mode.
func CheckMode(m policy.Mode) error {
	if !slices.Contains(policy.Modes, m) {
		return fmt.Errorf("%q is not a mode: write observe, purge-only or full", string(m))
	}
	return nil
}

// readModes reads the mode file: a line with the mode of all targets, and lines with a
// target and its own mode. # begins a comment.
func (f Files) readModes() (map[string]policy.Mode, error) {
	text, err := read(f.Mode)
	if text == nil || err != nil {
		return nil, err
	}
	modes, err := parseModes(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", f.Mode, err)
	}
	return modes, nil
}

func parseModes(text string) (map[string]policy.Mode, error) {
	modes := map[string]policy.Mode{}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		mode, target := policy.Mode(words[len(words)-1]), ""
		err := CheckMode(mode)
		if len(words) == 2 {
			target = words[0]
			err = errors.Join(err, CheckTarget(target))
		} else if len(words) > 2 {
			err = errors.New("write a mode, or a target and its mode")
		}
		if _, twice := modes[target]; twice {
			err = errors.New("an earlier line sets this mode as well")
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
		modes[target] = mode
	}
	if len(modes) == 0 { // as a full disk leaves it
		return nil, errors.New("1: no mode: write observe, purge-only or full")
	}
	return modes, nil
}

func formatModes(modes map[string]policy.Mode) string {
	var b strings.Builder
	b.WriteString("# The mode of hapressure: observe, purge-only or full. See hapressure(8).\n")
	for _, target := range slices.Sorted(maps.Keys(modes)) {
		b.WriteString(strings.TrimSpace(target+" "+string(modes[target])) + "\n")
	}
	return b.String()
}
