package simulate

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"hapressure/policy"
	"hapressure/policy/record"
)

// Run simulates a scenario with a policy and passes each event of its recording to write.
// The same scenario always gives the same recording.
func Run(s *Scenario, p *policy.Policy, write func(record.Event) error) (Result, error) {
	return newModel(s).run(p, write)
}

// DryRun does what Run does, except that all actions are skipped.
func DryRun(s *Scenario, p *policy.Policy, write func(record.Event) error) (Result, error) {
	m := newModel(s)
	m.dry = true
	return m.run(p, write)
}

// maxWork bounds a simulation: the sum of the workers over all steps. A day with 100
// workers has less; it takes about half a minute.
const maxWork = 100_000_000

// errTooMuch is wrapped by the error for a scenario that exceeds the bound.
var errTooMuch = errors.New("the scenario is too large")

func (m *model) run(p *policy.Policy, write func(record.Event) error) (Result, error) {
	st := policy.State{}
	for next := time.Duration(0); m.now <= m.Duration; m.now += step {
		m.pass()
		if m.work += len(m.workers); m.work > maxWork {
			return m.Result, fmt.Errorf("%w: at %s there are %d workers; reload less often, "+
				"or shorten duration or half-life", errTooMuch, m.now, len(m.workers))
		}
		for _, o := range m.end() {
			st.Done(o)
			if err := write(record.Event{Outcome: &o}); err != nil {
				return m.Result, err
			}
			next = m.now
		}
		if m.now < next {
			continue
		}
		t := m.sense()
		d := policy.Step(p, &st, t.Sample)
		for _, due := range d.Actions {
			m.begin(due)
		}
		t.Decision = d
		if err := write(record.Event{Tick: &t}); err != nil {
			return m.Result, err
		}
		switch { // the intervals of the daemon
		case d.Confirm:
			next = m.now + step
		case d.Tier > 0:
			next = m.now + time.Second/2
		default:
			next = m.now + time.Second
		}
	}
	return m.Result, nil
}

// pass lets one step of time pass.
func (m *model) pass() {
	m.advanceReload()
	for _, w := range m.workers {
		switch {
		case w.state == policy.Current:
			all := float64(m.Connections)
			opened := all * float64(step) / float64(m.Reload.Every)
			w.connections = min(all, w.connections+opened)
		case w.draining > m.now:
			gone := math.Round(w.connections * float64(step) / float64(w.draining-m.now+step))
			m.Cut += int(gone)
			w.connections -= gone
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
	if m.over()+m.swapped()-m.pushed > m.Swap {
		m.kill()
	}
	m.Peak = max(m.Peak, min(m.used(), m.Limit))
	m.slope = append(m.slope, min(m.used(), m.Limit))
	out := m.over()
	swapping := time.Duration(max(0, out-m.pushed) / swapSpeed * float64(time.Second))
	m.stall += min(step, swapping)
	m.pushed = out
}

// advanceReload takes a reload to its next stage when that is due: the check of the
// configuration, the start of the new worker, and the stop of the old one.
func (m *model) advanceReload() {
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
		m.scheduleReload()
	case !m.check && m.now >= m.reload && m.Reloads < m.Reload.Count:
		m.check = true
		m.Reloads++
	}
}

// scheduleReload sets the time of the next reload, up to a tenth earlier or later than
// the scenario says.
func (m *model) scheduleReload() {
	m.reload += time.Duration(float64(m.Reload.Every) * (0.9 + 0.2*m.random.Float64()))
}

// kill kills as the kernel does. The process whose request for memory cannot be met is
// mostly also the one that holds most memory in its page tables.
func (m *model) kill() {
	m.Killed++
	m.stall += step
	last := len(m.workers) - 1
	switch {
	case m.check:
		m.check = false
		m.Failed++
		m.scheduleReload()
	case m.workers[last].state == policy.Unknown:
		m.workers = m.workers[:last]
		m.Failed++
	default: // connections used it: the current worker has the most, and with it the master and all
		// other workers end
		for _, w := range m.workers {
			m.Cut += int(math.Round(w.connections))
		}
		m.Outages++
		m.workers = nil
		m.start(policy.Current)
	}
}
