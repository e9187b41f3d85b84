package simulate

import (
	"fmt"
	"math/rand/v2"
	"time"

	"hapressure/policy"
)

// Result sums up a simulation.
type Result struct {
	Reloads int     // tried
	Failed  int     // reloads that failed because memory was short
	Killed  int     // processes that the kernel killed
	Outages int     // times that the current worker was among them
	Cut     int     // connections that were cut
	Peak    float64 // the most memory used, in bytes
	Max     float64 // the limit, in bytes
}

func (r Result) String() string {
	return fmt.Sprintf("%s, %d failed; %s killed by the kernel, %s; "+
		"%s cut; most memory used %.0f of %.0f MiB", policy.Count(r.Reloads, "reload"), r.Failed,
		policy.Count(r.Killed, "process"), policy.Count(r.Outages, "outage"),
		policy.Count(r.Cut, "connection"), r.Peak/(1<<20), r.Max/(1<<20))
}

const (
	step      = 100 * time.Millisecond
	checking  = time.Second     // a reload first checks the configuration, with a cache of its own
	starting  = time.Second     // then a new worker starts and takes over
	swapSpeed = 100 << 20       // bytes a second; faster swapping stalls
	slopeOver = 3 * time.Second // the time over which limit-in is measured, as by the daemon
)

// worker is a process of the model.
type worker struct {
	id                 policy.WorkerID
	generation         int
	state              policy.WorkerState
	since              time.Duration // when it began to start or to stop
	cache, connections float64
	paged              float64       // of its private memory, what is in swap until it ends
	ends               time.Duration // when an action ends it; 0 = no action does
	draining           time.Duration // its sessions are shut down until then; 0 = they are not
}

// model is the state of a simulation.
type model struct {
	Scenario
	Result
	dry      bool // actions are skipped
	random   *rand.Rand
	now      time.Duration
	workers  []*worker     // by generation
	reload   time.Duration // when the next one begins
	check    bool          // a configuration check is running
	started  int           // workers
	pushed   float64       // into swap by the kernel
	stall    time.Duration // in total
	slope    []float64     // bytes used, by steps
	inFlight InFlight
	work     int // the sum of the workers over all steps
}

func newModel(s *Scenario) *model {
	random := rand.New(rand.NewPCG(uint64(s.Seed), 0))
	m := &model{Scenario: *s, random: random, reload: s.Reload.First}
	m.Max = s.Limit
	m.start(policy.Current)
	return m
}

// start starts the next worker.
func (m *model) start(state policy.WorkerState) {
	m.started++
	m.workers = append(m.workers, &worker{
		id:         policy.WorkerID{PID: 1000 + m.started, Start: uint64(m.now / 1e7)},
		generation: m.started, state: state, since: m.now, cache: m.Cache,
	})
}

// private returns the bytes that a worker holds besides its cache.
func (m *model) private(w *worker) float64 {
	return m.Heap + w.connections*m.Connection
}

// inRAM returns the private bytes of a worker that were not paged out. A page that was is
// not read back: stopping workers touch little of their memory.
func (m *model) inRAM(w *worker) float64 { return max(0, m.private(w)-w.paged) }

// swapped returns the bytes that are in swap.
func (m *model) swapped() float64 {
	sum := m.pushed
	for _, w := range m.workers {
		sum += min(w.paged, m.private(w))
	}
	return sum
}

// used returns the bytes that the unit would use without a limit.
func (m *model) used() float64 {
	sum := m.Base
	for _, w := range m.workers {
		sum += m.inRAM(w) + w.cache
	}
	if m.check {
		sum += m.Heap + m.Cache
	}
	return sum + m.Zram/100*(m.swapped()-m.pushed)
}

// over returns the bytes that the kernel must swap out to keep the unit below its limit.
func (m *model) over() float64 {
	return max(0, m.used()-m.Limit) / (1 - m.Zram/100)
}
