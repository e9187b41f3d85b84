package language

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// scalar reads a single value.
func (d *decoder) scalar(n *yaml.Node, name, what string) *value {
	text, ok := d.single(n, what)
	v := &value{at: d.place(n), of: name, text: text, bad: !ok}
	if ok {
		if problem := language.Scalars[name].problem(name, text); problem != "" {
			d.errorf(v.at, "%s %s", what, problem)
			v.bad = true
		}
	}
	return v
}

// problem returns what is wrong with a value and what would probably be right, "" if
// nothing is.
func (s *scalar) problem(name, text string) string {
	number := s.Lo != "" && decimalOnly.MatchString(text)
	switch name := badName(name, text); {
	case name != "":
		return fmt.Sprintf("%q %s", text, name)
	case s.Words != nil && !slices.Contains(s.Words, text):
		return fmt.Sprintf("%q is not known: write %s", text, join(s.Words, " or "))
	case s.Words != nil:
		return ""
	case s.regexp.MatchString(text):
		if s.Lo != "" && (amount(text) < amount(s.Lo) || amount(text) > amount(s.Hi)) {
			return fmt.Sprintf("%s is out of range: write from %s to %s", text, s.Lo, s.Hi)
		}
		return ""
	case s.Lo != "" && leadingZero.MatchString(text):
		right := leadingZero.ReplaceAllString(text, "$1")
		return fmt.Sprintf("%s has a leading zero, which YAML may read as octal: write %s",
			text, right)
	case number && s.Unit != "":
		return fmt.Sprintf("%s has no unit: write %s%s", text, text, s.Unit)
	case number:
		return fmt.Sprintf("%s is not a whole number: write %.0f", text, math.Ceil(amount(text)))
	}
	return fmt.Sprintf("%q is not valid: write %s", text, s.Write)
}

// join joins words for a message, the last one by a word of its own.
func join(words []string, last string) string {
	n := len(words) - 1
	if n < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:n], ", ") + last + words[n]
}
