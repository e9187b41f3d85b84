package haproxy

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
)

// How a process without a master is proven to be stopping. There is no CLI to ask: the
// stats socket of an old process belongs to the newest one. Nor does SO_PEERCRED show
// whose a stats socket is: a listener that was handed over (-x) keeps the credentials of
// the process that listened first.
//
// HAProxy sends SIGUSR1 to the processes that it names before it enters its event loop
// (src/haproxy.c, tell_old_pids(oldpids_sig) in main, before run_poll_loop: 2.4 to 3.5).
// So a process was sent the signal if a younger one that names it is proven to be
// current, and could send it signals. It has taken the signal if that has a handler
// and is not pending any more. A stop is never taken back (src/proxy.c, soft_stop), so
// all that is left to prove is that it accepts nothing any more, and this is seen.
//
// A process that was only paused (SIGTTOU, from a new one that cannot bind its sockets)
// is not named by one that is current: a new one that has not bound its sockets has no
// event loop. One that loads is not in its event loop itself.

// proveSignalled decides which processes of an instance without a master are stopping.
func (known memories) proveSignalled(in *Instance, seen map[ID]sockets) {
	for i := range in.Workers {
		w, younger := &in.Workers[i], in.Workers[i+1:]
		m := known[w.ID]
		for _, y := range younger {
			if y.State == StateCurrent && known.names(y.ID, w.ID) {
				w.ReplacedBy = y.PID
				by := known[y.ID].standing
				m.signalled = m.signalled ||
					by.couldSignal(m.standing) && takenSignal(w, by.signal)
			}
		}
		switch {
		case seen[w.ID] != acceptNothing:
			if w.State == StateCurrent && w.ReplacedBy != 0 {
				w.Why += fmt.Sprintf(", although pid %d serves in its place: "+
					"it was named after -sf or -st", w.ReplacedBy)
			}
		case !m.started:
			w.Why = "it accepts no connection, and was not yet seen waiting for events: " +
				"it may be loading"
		case !m.signalled:
			w.Why = "it accepts no connection, but no younger process that does has named it " +
				"after -sf or -st: it may be paused"
		case !slices.ContainsFunc(younger, serves):
			w.Why = "it accepts no connection, and no younger process of its lineage does"
		default:
			w.State = StateStopping
			w.Why = "it accepts no connection, and a younger process that does named it " +
				"after -sf or -st"
			m.stopping = w.Why
		}
	}
}

// takenSignal reports whether a process has taken a signal that was sent to it before.
func takenSignal(w *Worker, signal unix.Signal) bool {
	st, err := proc.ReadStatus(w.procfs, w.PID)
	bit := uint64(1) << (signal - 1)
	return err == nil && st.Caught&bit != 0 && st.Pending&bit == 0
}
