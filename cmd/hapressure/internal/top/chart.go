package top

import (
	"math"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
)

// lastsFor is how long a moment stands for the time after it: a quiet daemon ticks every
// 10 s. Later there is a gap.
const lastsFor = 15 * time.Second

// window is the time that charts cover, in columns.
type window struct {
	until   time.Time
	span    time.Duration
	columns int
}

// column returns the column of a time. It may lie outside.
func (w window) column(at time.Time) float64 {
	return float64(w.columns) * (1 - float64(w.until.Sub(at))/float64(w.span))
}

// spread spreads a value of each moment over the columns. A column has the greatest of
// its values, NaN if it has none.
func (w window) spread(history []status.Moment, read func(status.Moment) float64) []float64 {
	values := make([]float64, w.columns)
	for i := range values {
		values[i] = math.NaN()
	}
	for i, m := range history {
		until := m.At.Add(lastsFor)
		if i+1 < len(history) && history[i+1].At.Before(until) {
			until = history[i+1].At
		}
		v, from := read(m), int(math.Floor(w.column(m.At)))
		for x := max(0, from); x < w.columns && (x == from || float64(x) < w.column(until)); x++ {
			if !(v <= values[x]) { // also over NaN
				values[x] = v
			}
		}
		if from == w.columns && from > 0 { // now
			values[from-1] = v
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

// share returns what is used of the limit that was the nearest at a moment.
func share(m status.Moment) float64 { return float64(m.Used) / float64(m.Limit) }

func some(m status.Moment) float64 { return number(m.Some) }

func full(m status.Moment) float64 { return number(m.Full) }

func tier(m status.Moment) float64 { return float64(m.Tier) }

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
				v = min(v/top, 1) * float64(height*full)
				level = max(1, int(math.Round(v))) - (height-1-y)*full
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
