package replay

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"hapressure/policy"
)

// point is one column of the curves. A figure that is not known is NaN.
//
// Used and Limit are of the limit with the least headroom, Of. Usage is of UsageOf.
type point struct {
	At        time.Time `json:"At"`
	Usage     figure    `json:"Usage"`     // percent of the limit
	Some      figure    `json:"Some"`      // percent of the time
	Full      figure    `json:"Full"`      // percent of the time
	Room      figure    `json:"Room"`      // reloads that still fit
	Stopping  figure    `json:"Stopping"`  // workers
	Used      figure    `json:"Used"`      // bytes
	Limit     figure    `json:"Limit"`     // bytes
	SwapInUse figure    `json:"SwapInUse"` // bytes
	Killed    figure    `json:"Killed"`    // by the kernel since the previous point
	Cut       figure    `json:"Cut"`       // connections since the beginning
	Failed    figure    `json:"Failed"`    // reloads since the beginning
	Of        string    `json:"Of"`
	UsageOf   string    `json:"UsageOf"`
	// Held is what the workers of each generation hold, in bytes.
	Held map[int]figure `json:"Held,omitempty"`
}

// gap is a point at which nothing is known: it interrupts the curves.
func gap(at time.Time) point {
	return point{At: at, Usage: nan, Some: nan, Full: nan, Room: nan, Stopping: nan, Used: nan,
		Limit: nan, SwapInUse: nan, Killed: nan, Cut: nan, Failed: nan}
}

// figure is a number, in JSON null for NaN.
type figure float64

var nan = figure(math.NaN())

var _ json.Marshaler = nan

// MarshalJSON writes six digits: a screen cannot show more.
func (f figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%.6g", float64(f)), nil
}

func known(r policy.Reading) figure {
	if r.Absent != "" {
		return nan
	}
	return figure(r.Value)
}

// columns bounds the points of a page: more than a screen can show.
const columns = 1600

// curve holds a bounded number of points. When there are 2*columns, each two neighbours
// are merged into one, and from then on twice as many samples make one point.
type curve struct {
	points []point
	each   int // samples in one point
	last   int // samples in the last point
}

func (c *curve) add(p point) {
	if c.last > 0 && c.last < c.each {
		end := &c.points[len(c.points)-1]
		*end = merge(*end, p)
		c.last++
		return
	}
	if len(c.points) == 2*columns {
		c.points = thin(c.points)
		c.each *= 2
	}
	c.points, c.each, c.last = append(c.points, p), max(c.each, 1), 1
}

// thin merges each two neighbouring points if there are more than columns. There are at
// most 2*columns.
func thin(points []point) []point {
	if len(points) <= columns {
		return points
	}
	var kept []point
	for pair := range slices.Chunk(points, 2) {
		one := pair[0]
		for _, p := range pair[1:] {
			one = merge(one, p)
		}
		kept = append(kept, one)
	}
	return kept
}

// merge returns of two neighbours the point with more usage, with the worse of their
// other figures: peaks must not be lost.
func merge(a, b point) point {
	most := a
	if larger(a.Usage, b.Usage) != a.Usage {
		most = b
	}
	most.Some, most.Full = larger(a.Some, b.Some), larger(a.Full, b.Full)
	most.Room = -larger(-a.Room, -b.Room)
	most.Cut, most.Failed = larger(a.Cut, b.Cut), larger(a.Failed, b.Failed)
	if most.Killed = a.Killed + b.Killed; math.IsNaN(float64(most.Killed)) {
		most.Killed = larger(a.Killed, b.Killed)
	}
	return most
}

// larger returns the larger of two figures, or the known one.
func larger(a, b figure) figure {
	if b > a || math.IsNaN(float64(a)) {
		return b
	}
	return a
}
