package top

import (
	"math"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
)

// charted is how far back the charts go: what the daemon keeps.
const charted = 10 * time.Minute

// lastsFor is how long a moment stands for what comes after it: while all is still the daemon looks each 10 s. After that there is a gap.
const lastsFor = 15 * time.Second

// columns spreads what read gives of each moment over n columns up to now: in each the greatest, NaN where there is none.
func columns(history []status.Moment, now time.Time, n int, read func(status.Moment) float64) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = math.NaN()
	}
	column := func(at time.Time) float64 { return float64(n) * (1 - float64(now.Sub(at))/float64(charted)) }
	for i, m := range history {
		until := m.At.Add(lastsFor)
		if i+1 < len(history) && history[i+1].At.Before(until) {
			until = history[i+1].At
		}
		v, from := read(m), int(math.Floor(column(m.At)))
		for x := max(0, from); x < n && (x == from || float64(x) < column(until)); x++ {
			if !(v <= values[x]) { // also over NaN
				values[x] = v
			}
		}
		if from == n { // now
			values[n-1] = v
		}
	}
	return values
}

// number is a reading's value, NaN where it has none.
func number(r policy.Reading) float64 {
	if r.Absent != "" {
		return math.NaN()
	}
	return r.Value
}

// A ramp fills a cell from empty to full.
var (
	blockRamp = []rune(" ▁▂▃▄▅▆▇█")
	asciiRamp = []rune(" .:#")
)

// bars draws a value of each column from 0 up to top, as lines from above. What is there can be seen, even if it is 0.
func bars(values []float64, top float64, height int, ramp []rune) [][]rune {
	lines := make([][]rune, height)
	full := len(ramp) - 1
	for y := range lines {
		lines[y] = make([]rune, len(values))
		for x, v := range values {
			level := 0
			if v == v {
				level = max(1, int(math.Round(v/top*float64(height*full)))) - (height-1-y)*full
			}
			lines[y][x] = ramp[max(0, min(level, full))]
		}
	}
	return lines
}

// peak is the greatest of values, and at least the given one.
func peak(values []float64, least float64) float64 {
	for _, v := range values {
		if v > least {
			least = v
		}
	}
	return least
}
