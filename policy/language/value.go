package language

import (
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is one value of a policy, checked against the language: a mapping, a list or a
// single word.
type value struct {
	at     place
	of     string            // its form or scalar; [] before it: a list
	fields map[string]*value // of a mapping
	items  []*value          // of a list
	text   string            // of a single value, as written
	bad    bool              // it has a mistake that was reported
}

// get returns the value of a key, nil if the key is left out or has a mistake.
func (v *value) get(key string) *value {
	if v == nil || v.fields[key] == nil || v.fields[key].bad {
		return nil
	}
	return v.fields[key]
}

// list returns the items that have no mistake, none for nil.
func (v *value) list() []*value {
	if v == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(v.items), func(item *value) bool { return item.bad })
}

// word returns a single value, "" for nil.
func (v *value) word() string {
	if v == nil {
		return ""
	}
	return v.text
}

// amount returns a number in its base unit: percent, bytes, nanoseconds; 0 for nil.
func (v *value) amount() float64 { return amount(v.word()) }

func (v *value) duration() time.Duration { return time.Duration(v.amount()) }

func (v *value) count() int { return int(v.amount()) }

// one returns the given key of the group of which exactly one is required.
func (v *value) one() string {
	if v == nil || v.fields == nil {
		return ""
	}
	for _, name := range formOf(v.of).names(1) {
		if v.fields[name] != nil {
			return name
		}
	}
	return ""
}

// id returns what must be unique in a list, "" if nothing must be.
func (v *value) id() string {
	switch v.of {
	case "tier":
		return v.get("name").word()
	case "target":
		if group := v.get("cgroup").word(); group != "" {
			return path.Clean("/" + group)
		}
		return v.get("unit").word()
	case "action":
		return v.one()
	}
	return ""
}

func find(items []*value, id string) int {
	return slices.IndexFunc(items, func(v *value) bool { return id != "" && v.id() == id })
}

// merge returns v with the overrides in over: tiers and targets are merged by their names
// and key by key, all else is replaced as a whole.
func merge(v, over *value) *value {
	item, list := strings.CutPrefix(over.of, "[]")
	f := formOf(item)
	if v == nil || f == nil || !f.Merges {
		return over
	}
	out := *v
	if list {
		out.items = slices.Clone(v.items)
		for _, o := range over.items {
			if i := find(out.items, o.id()); i >= 0 {
				out.items[i] = merge(out.items[i], o)
			} else {
				out.items = append(out.items, o)
			}
		}
		return &out
	}
	out.fields = map[string]*value{}
	for _, name := range f.names(0) {
		if out.fields[name] = v.fields[name]; over.fields[name] != nil {
			out.fields[name] = merge(v.fields[name], over.fields[name])
		}
	}
	if over.get("enter").word() == "always" {
		out.fields["leave"] = over.fields["leave"] // such a tier is never left
	}
	return &out
}

var (
	decimalOnly = regexp.MustCompile(`^` + decimal + `$`)
	leadingZero = regexp.MustCompile(`^0+([0-9])`)

	units = map[string]float64{"%": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
)

// amount returns a number that matches the pattern of its scalar, in its base unit.
func amount(text string) float64 {
	for unit, factor := range units {
		if number, ok := strings.CutSuffix(text, unit); ok {
			v, _ := strconv.ParseFloat(number, 64)
			return v * factor
		}
	}
	if v, err := strconv.ParseFloat(text, 64); err == nil {
		return v
	}
	v, err := time.ParseDuration(text)
	if err != nil && text != "" {
		return math.Inf(1) // too long for a duration
	}
	return float64(v)
}
