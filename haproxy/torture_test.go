package haproxy

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"hapressure/haproxy/shctx"
	"hapressure/tests/haproxytest"
)

var torturePurges = flag.Int("torture", 2,
	"purges of each kind of worker, for each HAProxy release and nbthread")

// halfOpen is how many connections of each peer wait with their handshake, half of them
// until the purge and half until after it.
const halfOpen = 6

// torment is one HAProxy, what it is put through and what came of it.
type torment struct {
	t        *testing.T
	h        *haproxytest.HAProxy
	s        *Scanner
	threads  int
	peers    []peer
	traffic  traffic
	held     []time.Duration
	busy     int // tries that found the cache in use, or the threads not to be stopped
	refusals int
}

// TestTorture purges workers of several HAProxy releases under everything a client can do
// with TLS, and wants no client to notice.
func TestTorture(t *testing.T) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w,
		"release\tnbthread\tworker\tpurges\trefused\tbusy tries\theld median\theld "+
			"worst\thandshakes\tresumed")
	for i, release := range haproxytest.Releases() {
		for _, threads := range torturedThreads(i) {
			for _, kind := range torturedKinds(release) {
				t.Run(fmt.Sprintf("%s/%d/%s", cmp.Or(release, "host"), threads, kind),
					func(t *testing.T) {
						start := haproxytest.Start
						if kind == withoutMaster {
							start = haproxytest.StartAlone
						}
						h := start(t, haproxytest.Config{Release: release,
							CacheSize: cacheSize, Threads: threads})
						m := &torment{t: t, h: h, s: NewScanner("/proc"), threads: threads,
							peers: newPeers(h), traffic: traffic{t: t}}
						if kind == "current" {
							m.current(*torturePurges)
						} else {
							m.stopping(*torturePurges)
						}
						m.complaints()
						m.row(w, kind)
					})
			}
		}
	}
	w.Flush()
	t.Logf("\n%s", &table)
}

// withoutMaster is a kind of tortured worker: one that a reload by -sf has stopped.
const withoutMaster = "without a master"

// torturedKinds are the kinds of worker of a release. One that has no master differs in
// how it is proven only, so that the newest release is enough, except under
// HAPRESSURE_TESTS=all.
func torturedKinds(release string) []string {
	kinds := []string{"stopping", "current"}
	if slices.Contains(haproxytest.Sample(), release) {
		kinds = append(kinds, withoutMaster)
	}
	return kinds
}

// torturedThreads are the nbthread of a release, which is one of haproxytest.Releases:
// together they have each number once, and under HAPRESSURE_TESTS=all each has all.
// The oldest has more than one: before 2.9 one thread has no cache that can be purged.
func torturedThreads(release int) []int {
	all := []int{2, 1, 4}
	if os.Getenv("HAPRESSURE_TESTS") == "all" {
		return all
	}
	return all[release : release+1]
}

// stopping purges n stopping workers, one after the other, each with connections that
// came before the reload.
func (m *torment) stopping(n int) {
	for range n {
		m.warm()
		tunnels := openTunnels(m.t, m.h)
		m.holdConnections()
		p, err := m.s.Recheck(m.t.Context(), reload(m.t, m.s, m.h))
		if err != nil {
			m.t.Fatal(err)
		}
		m.purge(p)
		tunnels.through(m.h)
		m.checkCache(p)
		if !p.p.Alive() {
			m.t.Fatal("the worker ended while it had connections")
		}
		tunnels.close()
		if ended, err := p.p.WaitExit(m.t.Context(), haproxytest.Deadline); !ended {
			m.t.Errorf("the worker continues after its last connection: %v", err)
		}
		p.Close()
		if m.t.Failed() {
			return
		}
	}
}

// current purges a worker that serves n times, with more handshakes all the time. No
// policy does this; the purge must stand it.
func (m *torment) current(n int) {
	worker := m.h.Children()[0]
	p, err := unproven(worker)
	if err != nil {
		m.t.Fatal(err)
	}
	defer p.Close()
	tunnels := openTunnels(m.t, m.h)
	stop := m.traffic.start(newPeers(m.h))
	for range n {
		m.warm()
		m.holdConnections()
		if m.purge(p) {
			refill(m.t, p)
		}
		tunnels.through(m.h)
		if m.t.Failed() {
			break
		}
	}
	stop()
	tunnels.close()
	m.checkLock(p)
	if got := m.h.Children(); !slices.Equal(got, []int{worker}) {
		m.t.Errorf("worker %d is not what is left: %v", worker, got)
	}
}

// warm makes sessions, and makes sure that HAProxy resumes them as it should: else the
// cache would not be used at all.
func (m *torment) warm() {
	each(m.peers, func(p peer) {
		m.traffic.connect(p, 2)
		if resumed := m.traffic.handshake(p, 2); resumed != p.resumes {
			m.t.Errorf("%s before the purge: resumed %v, want %v", p.name, resumed, p.resumes)
		}
	})
}

// holdConnections opens the connections that will be purged under. When a later one has
// been served they are all accepted.
func (m *torment) holdConnections() {
	each(m.peers, func(p peer) { m.traffic.connect(p, halfOpen) })
	each(newBarriers(m.h), func(p peer) {
		m.traffic.connect(p, 1)
		m.traffic.handshake(p, 1)
	})
}

// purge purges p under the handshakes of the connections held, completes the rest after
// it, and reports whether it was not refused.
func (m *torment) purge(p *Stopping) bool {
	var during sync.WaitGroup
	during.Go(func() {
		each(m.peers, func(p peer) { m.traffic.handshake(p, halfOpen/2) })
	})
	defer during.Wait()
	var res Purged
	var err error
	m.h.Eventually("the purge finds the cache free", func() error {
		res, err = p.PurgeSSLCache(m.t.Context(), m.h.Pids())
		// a busy machine may take its time
		if errors.Is(err, ErrBusy) || errors.Is(err, ErrCannotStop) {
			m.busy++
			return err
		}
		return nil
	})
	during.Wait()
	purged := m.checkResult(res, err)
	each(m.peers, func(p peer) {
		want := p.resumes && (p.tickets || !purged)
		for range halfOpen / 2 {
			if resumed := m.traffic.handshake(p, 1); resumed != want {
				m.t.Errorf("%s after the purge: resumed %v, want %v", p.name, resumed, want)
			}
		}
	})
	return purged
}

func (m *torment) checkResult(res Purged, err error) (purged bool) {
	if m.threads == 1 && m.h.Before(2, 9) {
		m.refusals++
		if !shctx.IsRefusal(err, shctx.NoCache) {
			m.t.Errorf("purge of a private cache: %+v, %v, want refusal %q", res, err,
				shctx.NoCache)
		}
		return false
	}
	if err != nil {
		m.t.Fatalf("purge: %v", err)
	}
	// A thread that has just looked up a session may read its page, and get an empty one,
	// until it is through.
	if res.Freed() < cacheSize*shctx.BlockStride-2*pageSize ||
		res.After > uint64(1+m.threads)*pageSize || res.Held == 0 {
		m.t.Errorf("purge: %+v", res)
	}
	m.held = append(m.held, res.Held)
	return true
}

// checkCache wants the cache of a worker without handshakes to be as the purge left it.
func (m *torment) checkCache(p *Stopping) {
	if m.refusals > 0 {
		return
	}
	c, err := findTLSCache(p.p, os.O_RDWR)
	if err != nil {
		m.t.Fatal(err)
	}
	c.Close()
	if !c.cache.Empty {
		m.t.Errorf("after handshakes on a purged cache: %+v, want it empty", c.cache)
	}
	m.checkLock(p)
}

// checkLock waits until no thread is inside the cache: one that was stuck there would
// stay.
func (m *torment) checkLock(p *Stopping) {
	if m.refusals > 0 {
		return
	}
	c, err := findTLSCache(p.p, os.O_RDWR)
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	m.h.Eventually("the cache's lock is free", func() error {
		var lock [8]byte
		if _, err := c.ReadAt(lock[:], shctx.OffLock); err != nil || lock != [8]byte{} {
			return fmt.Errorf("lock %x, %v", lock, err)
		}
		return nil
	})
}

// Lines that HAProxy writes when nothing is amiss. A worker of 2.6 may crash in its own
// exit, long after a purge.
var harmless = regexp.MustCompile(`^$|^\[NOTICE\] |` +
	`^\[WARNING\] .* (Proxy \S+ stopped |HAProxy was started as (the )?root |This configuration ` +
	`\w+ \d+ threads .*total of \d+ CPUs)|` +
	`^\[WARNING\] .* Former worker .* exited with code 0 |^\[(ALERT|WARNING)\] .* Former worker ` +
	`.* exited with code 139 `)

// complaints fails the test if HAProxy wrote a warning, or what its watchdog writes.
func (m *torment) complaints() {
	for line := range strings.Lines(m.h.Log()) {
		if !harmless.MatchString(strings.TrimSuffix(line, "\n")) {
			m.t.Errorf("HAProxy complains: %s", line)
		}
	}
}

func (m *torment) row(w *tabwriter.Writer, kind string) {
	median, worst := "-", "-"
	if slices.Sort(m.held); len(m.held) > 0 {
		median, worst = m.held[len(m.held)/2].String(), m.held[len(m.held)-1].String()
	}
	full, resumed := m.traffic.full.Load(), m.traffic.resumed.Load()
	fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%d\t%s\t%s\t%d\t%d\n",
		m.h.Version, m.threads, kind, len(m.held), m.refusals, m.busy, median, worst, full+resumed,
		resumed)
}
