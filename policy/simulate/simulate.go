package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
)

// Result is what came of a simulation.
type Result struct {
	Reloads, Failed int     // reloads tried, and of these failed for want of memory
	Killed          int     // processes that the kernel killed
	Outages         int     // times the worker that serves was among them
	Cut             int     // connections that were cut
	Peak, Max       float64 // bytes used at most, and the limit
}

func (r Result) String() string {
	return fmt.Sprintf("%d reloads, %d failed; %d processes killed by the kernel, %d outages; %d connections cut; most memory used %.0f of %.0f MiB",
		r.Reloads, r.Failed, r.Killed, r.Outages, r.Cut, r.Peak/(1<<20), r.Max/(1<<20))
}

const (
	step      = 100 * time.Millisecond
	checking  = time.Second     // a reload first checks the configuration, with a cache of its own
	starting  = time.Second     // then the new worker needs this long to take over
	swapSpeed = 100 << 20       // bytes a second; what is swapped out any faster stalls
	slopeOver = 3 * time.Second // limit-in is measured over this, as by the daemon
)

// worker is a process of the model.
type worker struct {
	id                 policy.WorkerID
	generation         int
	state              policy.WorkerState
	since              time.Duration // stopping since
	cache, connections float64
	ends               time.Duration // when an action ends it; 0 = none does
	draining           time.Duration // until when its sessions are being shut down; 0 = they are not
}

type model struct {
	Scenario
	Result
	random  *rand.Rand
	now     time.Duration
	workers []*worker // by generation
	reload  time.Duration
	check   bool // a configuration check is running
	made    int  // workers
	swapped float64
	stall   time.Duration    // in all
	slope   []float64        // what was used, by steps
	flying  []policy.Outcome // of actions, as they will be
}

// Run simulates a scenario with a policy and records it. In a dry run nothing is done. The same scenario always gives the same recording.
func Run(s *Scenario, p *policy.Policy, dry bool, write func(record.Event) error) (Result, error) {
	m := &model{Scenario: *s, random: rand.New(rand.NewPCG(uint64(s.Seed), 0)), reload: time.Duration(s.Reload.First)}
	m.Max = float64(s.Limit)
	m.start(policy.Current)
	st := policy.State{}
	for look := time.Duration(0); m.now <= time.Duration(s.Duration); m.now += step {
		m.live()
		for _, o := range m.land(dry) {
			st.Done(o)
			if err := write(record.Event{Outcome: &o}); err != nil {
				return m.Result, err
			}
			look = m.now
		}
		if m.now < look {
			continue
		}
		t := m.sense()
		d := policy.Step(p, &st, t.Sample)
		for _, due := range d.Actions {
			m.give(due, dry)
		}
		t.Decision = d
		if err := write(record.Event{Tick: &t}); err != nil {
			return m.Result, err
		}
		switch { // as the daemon does
		case d.Confirm:
			look = m.now + step
		case d.Tier > 0:
			look = m.now + time.Second/2
		default:
			look = m.now + time.Second
		}
	}
	return m.Result, nil
}

// start makes the next worker.
func (m *model) start(state policy.WorkerState) {
	m.made++
	m.workers = append(m.workers, &worker{id: policy.WorkerID{PID: 1000 + m.made, Start: uint64(m.now / 1e7)}, generation: m.made, state: state, cache: float64(m.Cache)})
}

// private is what a worker holds beside its cache.
func (m *model) private(w *worker) float64 {
	return float64(m.Heap) + w.connections*float64(m.Connection)
}

func (m *model) used() float64 {
	sum := float64(m.Base)
	for _, w := range m.workers {
		sum += m.private(w) + w.cache
	}
	if m.check {
		sum += float64(m.Heap + m.Cache)
	}
	return sum
}

// live lets one step of time pass.
func (m *model) live() {
	m.reloads()
	for _, w := range m.workers {
		switch {
		case w.state == policy.Current:
			w.connections = min(float64(m.Connections), w.connections+float64(m.Connections)*float64(step)/float64(m.Reload.Every))
		case w.draining > m.now:
			gone := w.connections * float64(step) / float64(w.draining-m.now+step)
			m.Cut += int(math.Round(gone))
			w.connections -= math.Round(gone)
		default:
			w.connections *= math.Exp2(-float64(step) / float64(m.HalfLife))
		}
	}
	m.workers = slices.DeleteFunc(m.workers, func(w *worker) bool {
		ended := w.ends > 0 && w.ends <= m.now
		if ended {
			m.Cut += int(math.Round(w.connections))
		}
		return ended || w.state == policy.Stopping && w.connections < 0.5
	})
	if m.used() > float64(m.Limit+m.Swap) {
		m.kill()
	}
	m.Peak = max(m.Peak, min(m.used(), float64(m.Limit)))
	m.slope = append(m.slope, min(m.used(), float64(m.Limit)))
	out := max(0, m.used()-float64(m.Limit))
	m.stall += min(step, time.Duration(max(0, out-m.swapped)/swapSpeed*float64(time.Second)))
	m.swapped = out
}

// reloads goes on with a reload: the check, the start of a new worker, and the old one's stop.
func (m *model) reloads() {
	newest := m.workers[len(m.workers)-1]
	switch {
	case newest.state == policy.Unknown && m.now >= newest.since+starting:
		for _, w := range m.workers {
			if w.state == policy.Current {
				w.state, w.since = policy.Stopping, m.now
			}
		}
		newest.state = policy.Current
	case m.check && m.now >= m.reload+checking:
		m.check = false
		m.start(policy.Unknown)
		m.workers[len(m.workers)-1].since = m.now
		m.next()
	case !m.check && m.now >= m.reload && m.Reloads < int(m.Reload.Count):
		m.check = true
		m.Reloads++
	}
}

// next sets the time of the next reload: a tenth earlier or later than the scenario says.
func (m *model) next() {
	m.reload += time.Duration(float64(m.Reload.Every) * (0.9 + 0.2*m.random.Float64()))
}

// kill does as the kernel: what has just asked for memory and cannot have it is mostly also what holds most of it in its page tables.
func (m *model) kill() {
	m.Killed++
	m.stall += step
	last := len(m.workers) - 1
	switch {
	case m.check:
		m.check = false
		m.Failed++
		m.next()
	case m.workers[last].state == policy.Unknown:
		m.workers = m.workers[:last]
		m.Failed++
	default: // connections took it: the worker that serves has the most, and with it the master goes and all others
		for _, w := range m.workers {
			m.Cut += int(math.Round(w.connections))
		}
		m.Outages++
		m.workers = nil
		m.start(policy.Current)
	}
}
