package replay

import (
	"cmp"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
)

// View collects what is shown of recordings besides the runs of policies.
type View struct {
	Target   string
	From, To time.Time
	Samples  int

	begin record.Begin
	last  *record.Tick
	curve curve
}

// Play takes the next event of a recording.
func (v *View) Play(e record.Event) {
	if e.Begin != nil {
		if v.last != nil && e.Begin.State.Now != v.last.Now {
			v.curve.add(gap(v.To))
			v.last = nil
		}
		v.begin, v.Target = *e.Begin, e.Begin.Target
	}
	if e.Tick == nil {
		return
	}
	t := e.Tick
	p := point{At: v.begin.Wall.Add(t.Now - v.begin.At),
		Usage: known(t.Usage), Room: known(t.ReloadRoom), Some: nan, Full: nan,
		Used: figure(t.Used), Limit: figure(t.Limit), SwapInUse: known(t.Swap),
		Cut: figure(t.Cut), Failed: figure(t.Failed),
		Of: cmp.Or(t.RoomOf.Name, t.Nearest), UsageOf: cmp.Or(t.UsageOf.Name, t.Nearest),
		Held: held(t.Workers)}
	for _, w := range t.Workers {
		if w.State == policy.Stopping {
			p.Stopping++
		}
	}
	if v.last != nil && t.Now > v.last.Now {
		passed := figure((t.Now - v.last.Now).Microseconds())
		p.Some = (known(t.SomeTotal) - known(v.last.SomeTotal)) / passed * 100
		p.Full = (known(t.FullTotal) - known(v.last.FullTotal)) / passed * 100
		p.Killed = max(0, known(t.Events["oom_kill"])-known(v.last.Events["oom_kill"]))
	}
	if v.Samples == 0 {
		v.From = p.At
	}
	v.To, v.last = p.At, t
	v.Samples++
	v.curve.add(p)
}

// generations bounds those that the page tells apart.
const generations = 24

// held sums up what the workers of each generation hold: the youngest ones each, and all
// older ones as generation 0.
func held(workers []policy.Worker) map[int]figure {
	youngest := 0
	for _, w := range workers {
		youngest = max(youngest, w.Generation)
	}
	sums := map[int]figure{}
	for _, w := range workers {
		g := w.Generation
		if g <= youngest-generations {
			g = 0
		}
		sums[g] += figure(w.Private + w.CacheBytes)
	}
	return sums
}
