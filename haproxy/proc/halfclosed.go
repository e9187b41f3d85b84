package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// halfClosed are the states of a TCP connection that one side has closed, or both
// (include/net/tcp_states.h).
var halfClosed = []string{"04", "05", "08", "09", "0B"}

// TCP counts TCP connections.
type TCP struct {
	Open       int // in both directions, or being opened
	HalfClosed int // by one side at least
}

// TCPConnections counts the TCP connections of the process in its own network namespace.
// It reads the tables of all connections there, so it is not for each tick.
func (p *Process) TCPConnections(ctx context.Context) (TCP, error) {
	n, err := p.countTCP(ctx)
	if err != nil {
		err = fmt.Errorf("counting the TCP connections of pid %d: %w", p.PID, err)
	}
	return n, err
}

func (p *Process) countTCP(ctx context.Context) (n TCP, err error) {
	dir, err := os.Open(p.Path("fd"))
	if err != nil {
		return n, goneError(err)
	}
	defer dir.Close()
	all, err := listSockets(ctx, dir)
	if err != nil {
		return n, err
	}
	own := map[uint64]bool{} // inodes
	for _, d := range all {
		own[d.inode] = true
	}
	for _, table := range socketTables {
		if table.name != "tcp" && table.name != "tcp6" {
			continue
		}
		err := p.eachSocket(ctx, table, func(state string, inode uint64) {
			switch {
			case !own[inode]:
			case slices.Contains(halfClosed, state):
				n.HalfClosed++
			case slices.Contains(tcpConnected, state):
				n.Open++
			}
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return n, fmt.Errorf("reading net/%s: %w", table.name, err)
		}
	}
	return n, nil
}
