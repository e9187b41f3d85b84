package haproxy

import (
	"golang.org/x/sys/unix"

	"hapressure/haproxy/proc"
)

// HAProxy without a master.
//
// A reload then starts a new process with the pids of the old ones after -sf or -st. The
// new process sends them a signal to stop when it has bound its sockets (management
// guide, 4). So the command line of a process names those that it replaces, for as long
// as it lives.
//
// A pid may be in use again, so a name counts only if it can be meant: both processes
// have the same pid namespace, the named one has that pid in it and is the older one, and
// the younger one may send it signals (kill(2)) and serves in its network namespace. A
// process that starts while a list is old is younger than the list's process. Users and
// capabilities are those of a user namespace, so both must have the same one.
//
// Processes that names connect are a lineage: one Instance without a master. The Scanner
// remembers it: of A, B -sf A and C -sf B the process B may end first.

// standing is what of a process without a master decides which others it may replace.
type standing struct {
	arguments
	nspid             int    // its pid in its own pid namespace
	uid               uint32 // effective user, as its user namespace numbers it
	bounding          uint64 // capabilities that it can have had
	pids, nets, users string // its pid, network and user namespaces
}

// read reads what may change: HAProxy gives up root when it has started.
func (s *standing) read(procfs string, pid int) error {
	st, err := proc.ReadStatus(procfs, pid)
	if err != nil {
		return err
	}
	s.nspid, s.bounding = st.NSPID, st.Bounding
	if s.uid, err = proc.UserInside(procfs, pid, st.UID); err != nil {
		return err
	}
	if s.users, err = proc.Namespace(procfs, pid, "user"); err != nil {
		return err
	}
	if s.pids, err = proc.Namespace(procfs, pid, "pid"); err != nil {
		return err
	}
	s.nets, err = proc.Namespace(procfs, pid, "net")
	return err
}

// couldSignal reports whether the process could send signals to one that it names when
// it started (kill(2)). It may have been root then, and be the user of the other one
// only now: root without CAP_KILL, as in a container, cannot signal other users.
func (s *standing) couldSignal(o *standing) bool {
	can := func(capability int) bool { return s.bounding&(1<<capability) != 0 }
	return can(unix.CAP_KILL) || s.uid == o.uid && (s.uid == 0 || !can(unix.CAP_SETUID))
}
