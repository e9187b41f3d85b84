package schema

import (
	"slices"
	"time"
)

// Value is one value of a file, checked against the definition: a mapping, a list or a
// single word.
type Value struct {
	At     Place
	Of     string            // its form or scalar; [] before it: a list
	Form   *Form             // of a mapping, and of the items of a list; nil = a scalar
	Fields map[string]*Value // of a mapping
	Items  []*Value          // of a list
	Text   string            // of a single value, as written
	bad    bool              // it has a mistake that was reported
}

// Get returns the value of a key, nil if the key is left out or has a mistake.
func (v *Value) Get(key string) *Value {
	if v == nil || v.Fields[key] == nil || v.Fields[key].bad {
		return nil
	}
	return v.Fields[key]
}

// List returns the items that have no mistake, none for nil.
func (v *Value) List() []*Value {
	if v == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(v.Items), func(item *Value) bool { return item.bad })
}

// Word returns a single value, "" for nil.
func (v *Value) Word() string {
	if v == nil {
		return ""
	}
	return v.Text
}

// Amount returns a number in its base unit: percent, bytes, nanoseconds; 0 for nil.
func (v *Value) Amount() float64 { return amount(v.Word()) }

// Duration returns a duration, 0 for nil.
func (v *Value) Duration() time.Duration { return time.Duration(v.Amount()) }

// Count returns a whole number, 0 for nil.
func (v *Value) Count() int { return int(v.Amount()) }

// One returns the given key of the first group of which exactly one is required.
func (v *Value) One() string {
	if v == nil || v.Fields == nil {
		return ""
	}
	for _, name := range v.Form.Names(1) {
		if v.Fields[name] != nil {
			return name
		}
	}
	return ""
}
