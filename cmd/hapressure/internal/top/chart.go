package top

import (
	"math"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
)

// charted is the time that the charts cover, which is the history of the daemon.
const charted = 10 * time.Minute

// lastsFor is how long a moment stands for the time after it: a quiet daemon ticks every
// 10 s. Later there is a gap.
const lastsFor = 15 * time.Second

// columns spreads a value of each moment over n columns up to now. A column has the
// greatest of its values, NaN if it has none.
func columns(history []status.Moment, now time.Time, n int,
	read func(status.Moment) float64) []float64 {
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

// number returns a reading's value, NaN if it is absent.
func number(r policy.Reading) float64 {
	if r.Absent != "" {
		return math.NaN()
	}
	return r.Value
}

// A ramp has the characters of a cell from empty to full.
var (
	blockRamp = []rune(" ▁▂▃▄▅▆▇█")
	asciiRamp = []rune(" .:#")
)

// bars draws values from 0 to top as lines from the top down. A value of 0 is visible,
// NaN is not.
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

// peak returns the greatest of values and least.
func peak(values []float64, least float64) float64 {
	for _, v := range values {
		if v > least {
			least = v
		}
	}
	return least
}
