package policy

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// written reports whether n is a value written out in place. Aliases could make a small file huge, and tags change what
// a value means.
func (d *decoder) written(n *yaml.Node, what string) bool {
	if n.Kind == yaml.AliasNode {
		d.errorf(n, "%s is an alias, which a policy may not have: write the value out", what)
		return false
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.errorf(n, "%s has the tag %s, which a policy may not have: leave it out", what, n.Tag)
		return false
	}
	return true
}

// mapping returns n's values by key, or nil after an error that leaves nothing to look at.
func (d *decoder) mapping(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	if !d.written(n, what) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.errorf(n, "%s is not a mapping: its keys are %s", what, strings.Join(known, ", "))
		return nil
	}
	fields := map[string]*yaml.Node{}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name, ok := d.scalar(key, "a key of "+what)
		if !ok {
			continue
		}
		if line, twice := lines[name]; twice {
			d.errorf(key, "%s has the key %q twice: the first is in line %d", what, name, line)
			continue
		}
		lines[name] = key.Line
		if !slices.Contains(known, name) {
			d.errorf(key, "%s has an unknown key %q: known are %s", what, name, strings.Join(known, ", "))
			continue
		}
		fields[name] = value
	}
	return fields
}

func (d *decoder) list(n *yaml.Node, what string) []*yaml.Node {
	if !d.written(n, what) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		d.errorf(n, "%s is not a list: begin each item with -", what)
		return nil
	}
	if len(n.Content) == 0 {
		d.errorf(n, "%s is an empty list: give at least one, or leave the key out", what)
	}
	return n.Content
}

func (d *decoder) scalar(n *yaml.Node, what string) (string, bool) {
	if !d.written(n, what) {
		return "", false
	}
	if n.Kind != yaml.ScalarNode {
		d.errorf(n, "%s is not a single value", what)
		return "", false
	}
	if n.Value == "" || n.Tag == "!!null" {
		d.errorf(n, "%s has no value", what)
		return "", false
	}
	return n.Value, true
}

// The one way to write a number. YAML would read 010 as 8, 1_0 as 10 and 0x10 as 16.
const decimal = `(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,9})?`

var (
	decimalOnly  = regexp.MustCompile(`^` + decimal + `$`)
	decimalUnit  = regexp.MustCompile(`^(` + decimal + `)(%|KiB|MiB|GiB)$`)
	durationOnly = regexp.MustCompile(`^(?:` + decimal + `(?:ms|s|m|h))+$`)
	leadingZero  = regexp.MustCompile(`^0+[0-9]`)
)

// wrong reports a value that is not written as it must be, with the likeliest right one.
func (d *decoder) wrong(n *yaml.Node, what, value, unit, example string) {
	switch {
	case leadingZero.MatchString(value):
		short := strings.TrimLeft(value, "0")
		if short == "" || short[0] < '0' || short[0] > '9' {
			short = "0" + short
		}
		d.errorf(n, "%s %s has a leading zero, which YAML may read as octal: write %s", what, value, short)
	case unit != "" && decimalOnly.MatchString(value):
		d.errorf(n, "%s %s has no unit: write %s%s", what, value, value, unit)
	default:
		d.errorf(n, "%s %q is not understood: write for example %s", what, value, example)
	}
}

// number returns a plain number from lo to hi.
func (d *decoder) number(n *yaml.Node, what string, lo, hi float64) float64 {
	text, ok := d.scalar(n, what)
	if !ok {
		return 0
	}
	if !decimalOnly.MatchString(text) {
		d.wrong(n, what, text, "", "2")
		return 0
	}
	v, _ := strconv.ParseFloat(text, 64) // decimalOnly lets nothing through that does not parse
	if v < lo || v > hi {
		d.errorf(n, "%s %s is out of range: write a number from %s to %s", what, text, plain(lo), plain(hi))
	}
	return v
}

// count returns a whole number from lo on.
func (d *decoder) count(n *yaml.Node, what string, lo float64) int {
	before := len(d.errs)
	v := d.number(n, what, lo, 1e6)
	if len(d.errs) == before && v != float64(int(v)) {
		d.errorf(n, "%s %s is not whole: write %d", what, n.Value, int(v)+1)
	}
	return int(v)
}

// withUnit splits a value with one of the units of decimalUnit.
func (d *decoder) withUnit(n *yaml.Node, what string, units string, example string) (float64, string, bool) {
	text, ok := d.scalar(n, what)
	if !ok {
		return 0, "", false
	}
	m := decimalUnit.FindStringSubmatch(text)
	if m == nil || !strings.Contains(units, m[2]) {
		d.wrong(n, what, text, strings.Fields(units)[0], example)
		return 0, "", false
	}
	v, _ := strconv.ParseFloat(m[1], 64) // as in number
	return v, m[2], true
}

func (d *decoder) percent(n *yaml.Node, what string) float64 {
	v, _, _ := d.withUnit(n, what, "%", "70%")
	if v > 100 {
		d.errorf(n, "%s %s is out of range: write a percentage from 0%% to 100%%", what, n.Value)
	}
	return v
}

// size returns bytes.
func (d *decoder) size(n *yaml.Node, what string) float64 {
	v, unit, _ := d.withUnit(n, what, "MiB KiB GiB", "64MiB")
	return v * map[string]float64{"": 0, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
}

func (d *decoder) duration(n *yaml.Node, what string) time.Duration {
	text, ok := d.scalar(n, what)
	if !ok || text == "0" {
		return 0
	}
	v, err := time.ParseDuration(text)
	if err != nil || !durationOnly.MatchString(text) {
		d.wrong(n, what, text, "s", "10s")
		return 0
	}
	if v > 24*time.Hour {
		d.errorf(n, "%s %s is out of range: write at most 24h", what, text)
	}
	return v
}

// durationBetween is duration for a value with bounds of its own.
func (d *decoder) durationBetween(n *yaml.Node, what string, lo, hi time.Duration) time.Duration {
	before := len(d.errs)
	v := d.duration(n, what)
	if len(d.errs) == before && (v < lo || v > hi) {
		d.errorf(n, "%s %s is out of range: write from %s to %s", what, n.Value, text(lo), text(hi))
	}
	return v
}

func (d *decoder) boolean(n *yaml.Node, what string) bool {
	value, ok := d.scalar(n, what)
	if ok && value != "true" && value != "false" {
		d.errorf(n, "%s %q is not understood: write true or false", what, value)
	}
	return value == "true"
}
