package replay

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
)

//go:embed page.html
var page []byte

// View is what people are shown of a recording beside what policies made of it.
type View struct {
	Target   string
	From, To time.Time
	Samples  int

	begin record.Begin
	last  *record.Tick
	curve []point
}

// point is a column of the curves; what is not known is NaN.
type point struct {
	At                          time.Time
	Usage, Some, Room, Stopping figure // percent, percent of the time, reloads, workers
	Used, Limit, SwapInUse      figure // bytes
	Killed                      figure // processes, by the kernel, since the point before
}

// figure is a number in JSON, null for NaN.
type figure float64

func (f figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%.6g", float64(f)), nil
}

func known(r policy.Reading) figure {
	if r.Absent != "" {
		return figure(math.NaN())
	}
	return figure(r.Value)
}

// Play takes the next event of a recording.
func (v *View) Play(e record.Event) {
	if e.Begin != nil {
		if v.last != nil && e.Begin.State.Now != v.last.Now {
			nan := figure(math.NaN()) // a gap
			v.curve = append(v.curve, point{v.To, nan, nan, nan, nan, nan, nan, nan, nan})
			v.last = nil
		}
		v.begin, v.Target = *e.Begin, e.Begin.Target
	}
	if e.Tick == nil {
		return
	}
	t := e.Tick
	p := point{At: v.begin.Wall.Add(t.Now - v.begin.At), Usage: known(t.Usage), Room: known(t.ReloadRoom), Some: figure(math.NaN()),
		Used: figure(t.Used), Limit: figure(t.Limit), SwapInUse: known(t.Swap)}
	for _, w := range t.Workers {
		if w.State == policy.Stopping {
			p.Stopping++
		}
	}
	if v.last != nil && t.Now > v.last.Now {
		p.Some = (known(t.SomeTotal) - known(v.last.SomeTotal)) / figure((t.Now - v.last.Now).Microseconds()) * 100
		p.Killed = max(0, known(t.Events["oom_kill"])-known(v.last.Events["oom_kill"]))
	}
	if v.Samples == 0 {
		v.From = p.At
	}
	v.To, v.last = p.At, t
	v.Samples++
	v.curve = append(v.curve, p)
}

// columns is how many points a page has at most: more than a screen can show.
const columns = 1600

// thin keeps of neighbouring points that with the most usage: peaks are what matters.
func thin(curve []point) []point {
	each := (len(curve) + columns - 1) / columns
	if each <= 1 {
		return curve
	}
	var kept []point
	for len(curve) > 0 {
		n := min(each, len(curve))
		most := curve[0]
		for _, p := range curve[1:n] {
			some, room, killed := max(most.Some, p.Some), min(most.Room, p.Room), most.Killed+p.Killed
			if p.Usage > most.Usage {
				most = p
			}
			most.Some, most.Room, most.Killed = some, room, killed
		}
		kept, curve = append(kept, most), curve[n:]
	}
	return kept
}

// WriteHTML writes a page with the curves and what each run did. It needs nothing else to be looked at.
func (v *View) WriteHTML(w io.Writer, runs []*Run) error {
	// json.Marshal escapes < and >, so that no text can end the script it is put into.
	data, err := json.Marshal(map[string]any{"Target": v.Target, "From": v.From, "To": v.To, "Samples": v.Samples, "Curve": thin(v.curve), "Runs": runs})
	if err != nil {
		return fmt.Errorf("encoding a page: %w", err)
	}
	_, err = w.Write(bytes.Replace(page, []byte("{{DATA}}"), data, 1))
	return err
}
