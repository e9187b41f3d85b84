package schema

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scalar is one kind of single value.
type Scalar struct {
	Pattern, Write, Unit, Lo, Hi, Doc string
	Words                             []string
	regexp                            *regexp.Regexp
}

const (
	whole   = `(?:0|[1-9][0-9]{0,11})`
	decimal = whole + `(?:\.[0-9]{1,9})?`
)

// compile makes the pattern a regular expression.
func (s *Scalar) compile() {
	numbers := strings.NewReplacer("{whole}", whole, "{decimal}", decimal)
	s.Pattern = "^(?:" + numbers.Replace(s.Pattern) + ")$"
	s.regexp = regexp.MustCompile(s.Pattern)
}

// problem returns what is wrong with a value and what would probably be right, "" if
// nothing is.
func (s *Scalar) problem(text string) string {
	number := s.Lo != "" && decimalOnly.MatchString(text)
	switch {
	case s.Words != nil && !slices.Contains(s.Words, text):
		return fmt.Sprintf("%q is not known: write %s", text, Join(s.Words, " or "))
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

// Join joins words for a message, the last one by a word of its own.
func Join(words []string, last string) string {
	n := len(words) - 1
	if n < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:n], ", ") + last + words[n]
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
