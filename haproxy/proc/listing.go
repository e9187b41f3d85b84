package proc

import (
	"context"
	"errors"
	"os"
	"slices"
)

var errNoTables = errors.New("no process stayed in its network namespace while the tables " +
	"of connections were read")

// Listing finds those of several processes that accept connections. The kernel takes
// milliseconds for each table of connections, however short it is, so the tables of a
// network namespace are read once for all processes in it.
//
// A socket is examined only if it was listed before the tables were read, and all tables
// were read by a process that lived meanwhile: of one that has ended the kernel shows no
// table, and every connection would seem to be none. The zero value is ready to use.
type Listing struct {
	Sockets    int // how many are listed
	of         map[ID][]descriptor
	namespaces map[string]*namespace // by the link /proc/PID/ns/net
	in         map[ID]*namespace
}

// namespace is a network namespace of listed processes.
type namespace struct {
	processes []*Process
	left      map[uint64]bool // inodes of sockets that may accept
	err       error           // why it is not known which are connected
}

// Add lists the sockets of a process, which must stay open until Accepting was called.
func (l *Listing) Add(ctx context.Context, p *Process) error {
	short, cancel := context.WithTimeout(ctx, acceptTime)
	defer cancel()
	return p.explain(ctx, l.add(short, p))
}

func (l *Listing) add(ctx context.Context, p *Process) error {
	link, err := Namespace(p.procfs, p.PID, "net")
	if err != nil {
		return err
	}
	dir, err := os.Open(p.Path("fd"))
	if err != nil {
		return err
	}
	defer dir.Close()
	sockets, err := listSockets(ctx, dir)
	if err != nil {
		return err
	}
	if l.of == nil {
		l.of, l.in = map[ID][]descriptor{}, map[ID]*namespace{}
		l.namespaces = map[string]*namespace{}
	}
	ns := l.namespaces[link]
	if ns == nil {
		ns = &namespace{left: map[uint64]bool{}}
		l.namespaces[link] = ns
	}
	ns.processes = append(ns.processes, p)
	for _, d := range sockets {
		ns.left[d.inode] = true
	}
	l.of[p.ID], l.in[p.ID] = sockets, ns
	l.Sockets += len(sockets)
	return nil
}

// RemoveConnected forgets the sockets that are connected.
func (l *Listing) RemoveConnected(ctx context.Context) {
	for link, ns := range l.namespaces {
		ns.err = errNoTables
		for _, p := range ns.processes {
			err := p.removeConnected(ctx, ns.left)
			// A process that ends or enters another namespace shows other tables.
			if now, _ := Namespace(p.procfs, p.PID, "net"); now == link && p.Alive() {
				ns.err = err
				break
			}
		}
	}
}

// Accepting returns a socket on which a listed process accepts connections or datagrams
// of any peer, or none. An error means that the answer is not known.
func (l *Listing) Accepting(ctx context.Context, p *Process) (Listener, error) {
	ns := l.in[p.ID]
	if ns.err != nil {
		return Listener{}, p.explain(ctx, ns.err)
	}
	return p.examine(ctx, slices.DeleteFunc(l.of[p.ID], func(d descriptor) bool {
		return !ns.left[d.inode]
	}))
}

// Accepting returns a socket on which the process accepts connections or datagrams of any
// peer, or none. An error means that the answer is not known.
func (p *Process) Accepting(ctx context.Context) (Listener, error) {
	var l Listing
	if err := l.Add(ctx, p); err != nil {
		return Listener{}, err
	}
	l.RemoveConnected(ctx)
	return l.Accepting(ctx, p)
}
