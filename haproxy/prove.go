package haproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hapressure/haproxy/cli"
	"hapressure/haproxy/proc"
)

// How a worker's state is proven.
//
// What can be seen is examined first, and asks HAProxy nothing: the sockets on which each
// worker accepts connections (proc/sockets.go), and that it runs its event loop
// (proc/eventloop.go). A worker with both is current. One that accepts nothing may be
// stopping, but it may also load its configuration, or be paused. It is asked whether it
// is stopping only if a younger worker of its master accepts connections. The youngest
// worker, which may be loading, is never asked, nor is one that accepts, and a silent one
// is not asked again soon (cli/client.go). It is stopping if it says so and counts no
// listener that still accepts.
//
// From 3.1 a reload's worker exists while it still reads its configuration. It may have
// bound its listeners, or have inherited some, and still fail to start. HAProxy waits for
// events in epoll_wait(2) only after it has started (src/haproxy.c, run_poll_loop). So a
// thread that was seen there proves that the start is over. `busy-polling` never waits
// there, and `noepoll` waits elsewhere: with either no worker is ever proven to be
// current.
//
// HAProxy sets SO_REUSEADDR on every listener that it binds itself (src/sock_inet.c,
// sock_inet_bind_receiver): for datagrams those of QUIC and of log-forward. Other
// datagram sockets are no listeners, and none resembles one: those that it sends log
// lines from are shut down for reading (src/log.c); those of resolvers are connected, or
// from 3.5 bound to any port without SO_REUSEADDR (src/dns.c); those of single QUIC
// connections are connected; and those to /dev/log have no address. A datagram listener
// that was inherited can be missed, and so can one of sockpair@, which is no listening
// socket. The worker counts both itself: see judge.
//
// What a master lists is no part of the proof, and the master's CLI is not used. After a
// failed reload several releases list the worker that serves under "old workers"
// (src/mworker.c, cli_io_handler_show_proc).

// proofTime bounds the proofs of one Scan, whatever the processes do. All processes share
// it. A worker whose turn does not come is unknown, and comes first in the next Scan.
const proofTime = 5 * time.Second

var errNoProofTime = errors.New("its turn to be examined has not come yet")

// prove decides the state of every worker in found, in the Scan with this number. A proof
// of stopping is kept: a stopping worker never serves again (src/proxy.c only ever sets
// the variable stopping).
func (known memories) prove(ctx context.Context, found []Instance, scan uint64) {
	ctx, cancel := context.WithTimeoutCause(ctx, proofTime, errNoProofTime)
	defer cancel()
	seen := map[ID]sockets{}
	rest := known.unproven(found)
	for len(rest) > 0 && ctx.Err() == nil {
		rest = known.proveCurrent(ctx, rest, scan, seen)
	}
	for _, w := range rest {
		w.Why = context.Cause(ctx).Error()
	}
	now := proc.BootTicks()
	for i := range found {
		if found[i].Master == (ID{}) {
			known.proveSignalled(&found[i], seen)
		} else {
			known.proveStopping(ctx, &found[i], seen)
		}
		known.sinceWhen(now, found[i].Workers)
		markSuccessors(found[i].Workers)
		for j := range found[i].Workers {
			w := &found[i].Workers[j]
			w.proven = w.State
		}
	}
}

// unproven restores what is proven of workers, and returns the others. Those whose turn
// was longest ago come first.
func (known memories) unproven(found []Instance) []*Worker {
	var rest []*Worker
	for _, in := range found {
		for i := range in.Workers {
			w := &in.Workers[i]
			switch m := known[w.ID]; {
			case m.stopping != "":
				w.State, w.Why = StateStopping, m.stopping
			case w.Why == "": // otherwise it is the reason that it cannot be examined
				rest = append(rest, w)
			}
		}
	}
	slices.SortStableFunc(rest, func(a, b *Worker) int {
		return cmp.Compare(known[a.ID].proved, known[b.ID].proved)
	})
	return rest
}

// batchSockets bounds the sockets that are examined together. The sockets of the last
// process of a batch may exceed it.
const batchSockets = 20_000

// proveCurrent examines the first of the workers in rest, enters into seen what it found
// of their sockets, and returns the others.
func (known memories) proveCurrent(ctx context.Context, rest []*Worker, scan uint64,
	seen map[ID]sockets) []*Worker {
	// A process with very many sockets may take all the time of the listing. Half of what
	// there is stays for those that were listed before it.
	deadline, _ := ctx.Deadline()
	half, cancel := context.WithTimeoutCause(ctx, time.Until(deadline)/2, errNoProofTime)
	defer cancel()
	type opened struct {
		*Worker
		p *proc.Process
	}
	var listing proc.Listing
	var listed []opened
	for ; len(rest) > 0 && listing.Sockets < batchSockets && half.Err() == nil; rest = rest[1:] {
		w := rest[0]
		known[w.ID].proved = scan
		p, err := proc.Open(w.procfs, w.ID)
		if err != nil {
			w.Why = err.Error()
			continue
		}
		defer p.Close()
		if listener := known[w.ID].listener; listener.Socket != "" {
			if accepts, err := p.StillAccepts(ctx, listener); err != nil || accepts {
				seen[w.ID] = known[w.ID].judgeSockets(w, p, listener, err)
				continue
			}
		}
		if err := listing.Add(half, p); err != nil {
			w.Why = err.Error()
			continue
		}
		listed = append(listed, opened{w, p})
	}
	listing.RemoveConnected(ctx)
	for _, w := range listed {
		l, err := listing.Accepting(ctx, w.p)
		seen[w.ID] = known[w.ID].judgeSockets(w.Worker, w.p, l, err)
	}
	return rest
}

// judgeSockets decides by the listener that was found whether a worker is current.
func (m *memory) judgeSockets(w *Worker, p *proc.Process, l proc.Listener, err error) sockets {
	if err == nil {
		m.listener = l
	}
	if err == nil && !m.started {
		m.started, err = p.InEventLoop()
	}
	switch {
	case err != nil:
		w.Why = err.Error()
		return notExamined
	case l.Socket == "":
		w.Why = "it accepts no connection"
		return acceptNothing
	case !m.started:
		w.Why = "it may be loading: it has a listener on " + l.Socket +
			", but was not yet seen waiting for events"
		return accept
	}
	w.State, w.Why = StateCurrent, "it accepts connections on "+l.Socket
	return accept
}

// proveStopping asks those workers of an instance that may be stopping, the oldest first.
func (known memories) proveStopping(ctx context.Context, in *Instance, seen map[ID]sockets) {
	accepts := func(o Worker) bool { return seen[o.ID] == accept }
	for i := range in.Workers {
		w := &in.Workers[i]
		switch {
		case seen[w.ID] != acceptNothing:
		case !slices.ContainsFunc(in.Workers[i+1:], accepts):
			w.Why = "it accepts no connection, and no younger worker does: it may be loading"
		case ctx.Err() != nil:
			w.Why = context.Cause(ctx).Error()
		default:
			info, err := w.cli.Info(ctx)
			if err != nil {
				in.CLIErr = err
				w.Why = fmt.Sprintf("it accepts no connection, "+
					"and cannot be asked whether it is stopping: %v", err)
				continue
			}
			w.State, w.Why = judge(info)
			if w.State == StateStopping {
				known[w.ID].stopping = w.Why
			}
		}
	}
}

// judge decides the state of a worker that accepts no connection and has a younger
// sibling that does, by its answer.
func judge(info cli.Info) (State, string) {
	switch {
	case !info.Stopping:
		return StateUnknown, "it accepts no connection, but says Stopping: 0: it may be paused"
	case info.Listeners > info.Unstoppable:
		// It is in its `grace` time, with a listener that no socket of its own shows,
		// such as sockpair@.
		return StateUnknown, fmt.Sprintf("it says Stopping: 1, but has listeners: %d",
			info.Listeners-info.Unstoppable)
	}
	return StateStopping, "it accepts no connection, says Stopping: 1, and a younger worker accepts"
}

// sinceWhen finds out since when the stopping workers among those of an instance have
// been stopping.
func (known memories) sinceWhen(now uint64, workers []Worker) {
	for i := range workers {
		w, m := &workers[i], known[workers[i].ID]
		if w.State != StateStopping {
			continue
		}
		since := now
		if i+1 < len(workers) {
			since = workers[i+1].Start
		}
		if m.since == 0 {
			m.since = since
		}
		m.since = min(m.since, since) // the younger one may be gone by now
		w.StoppingFor = proc.Between(m.since, now)
	}
}

// markSuccessors marks the workers of an instance that a younger one has replaced.
func markSuccessors(workers []Worker) {
	for i := range workers {
		workers[i].successor = slices.ContainsFunc(workers[i+1:], serves)
	}
}
