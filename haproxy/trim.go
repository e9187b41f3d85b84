package haproxy

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// Given is what a worker gave back: what it held before and after, in bytes. What is counted depends on the action.
type Given struct{ Before, After uint64 }

// Freed is the memory given back, in bytes. A worker that grew meanwhile has given nothing.
func (g Given) Freed() uint64 { return g.Before - min(g.Before, g.After) }

const (
	trimLimit = time.Second           // by then the pools are empty, or there was nothing in them
	trimLook  = 20 * time.Millisecond // nothing tells when the worker has handled the signal
)

// TrimPools makes a worker return what its memory pools keep for later, by SIGQUIT (src/haproxy.c, dump; src/pool.c, pool_gc), and
// returns its private memory before and after. All of its threads wait meanwhile, as they do when it runs out of memory
// itself. Releases before 3.3 also write a table of their pools to standard error. Connections are not touched.
//
// SIGQUIT ends a process that has no handler for it: then the error is a *Refusal and it is not sent. Nor is it sent if the write of the
// table could wait for a reader: the worker's first thread would sleep, and its connections with it.
func (p *Process) TrimPools(ctx context.Context) (Given, error) {
	st, err := readStatus(p.procfs, p.PID)
	if err != nil {
		return Given{}, err
	}
	if st.caught&(1<<(unix.SIGQUIT-1)) == 0 {
		return Given{}, refuse(NoHandler, "SIGQUIT would end pid %d", p.PID)
	}
	if err := p.stderrTakesTable(); err != nil {
		return Given{}, err
	}
	g := Given{Before: st.rssAnon + st.swap, After: st.rssAnon + st.swap}
	if err := p.Signal(unix.SIGQUIT); err != nil {
		return g, err
	}
	for end := time.Now().Add(trimLimit); time.Now().Before(end); {
		if err := pause(ctx, p, trimLook); err != nil {
			return g, err
		}
		if !p.Alive() {
			return g, ErrGone
		}
		st, err := readStatus(p.procfs, p.PID)
		if err != nil {
			return g, err
		}
		now := st.rssAnon + st.swap
		if now < g.Before && now == g.After {
			break // it has fallen and stands still
		}
		g.After = now
	}
	return g, nil
}
