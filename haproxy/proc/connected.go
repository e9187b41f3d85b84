package proc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
)

// Which sockets are connected.
//
// A connection must not be copied. If its process closes it while a copy exists, it stays
// in the process's epoll set, and epoll(7) reports its end again and again, under a
// number that may by then belong to another connection. HAProxy up to 3.1 takes that for
// the end of the other connection, and later releases spin (src/ev_epoll.c). So the
// tables of /proc/PID/net are read first: a socket that they show as connected accepts
// nothing, and is not examined.

// socketTable is a table of /proc/PID/net with the sockets of the process's network
// namespace.
type socketTable struct {
	name         string
	state, inode int      // indexes of these fields
	connected    []string // states of a socket that cannot accept
}

// The states are those of include/net/tcp_states.h except LISTEN and CLOSE, and
// SS_CONNECTED of include/uapi/linux/net.h.
var (
	tcpConnected = []string{"01", "02", "03", "04", "05", "06", "08", "09", "0B", "0C", "0D"}

	socketTables = []socketTable{
		{"unix", 5, 6, []string{"03"}},
		{"udp", 3, 9, []string{"01"}},
		{"udp6", 3, 9, []string{"01"}},
		{"tcp", 3, 9, tcpConnected},
		{"tcp6", 3, 9, tcpConnected},
	}
)

// removeConnected removes from inodes the sockets that are connected, as far as the
// tables show. Sockets of other families and of other network namespaces stay. A table is
// read only while there are sockets left.
func (p *Process) removeConnected(ctx context.Context, inodes map[uint64]bool) error {
	for _, table := range socketTables {
		if len(inodes) == 0 {
			return nil
		}
		err := p.removeConnectedIn(ctx, table, inodes)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return fmt.Errorf("reading net/%s: %w", table.name, err)
		}
	}
	return nil
}

func (p *Process) removeConnectedIn(ctx context.Context, table socketTable,
	inodes map[uint64]bool) error {
	return p.eachSocket(ctx, table, func(state string, inode uint64) {
		if slices.Contains(table.connected, state) {
			delete(inodes, inode)
		}
	})
}

// eachSocket calls do with the state and the inode in each line of a table.
func (p *Process) eachSocket(ctx context.Context, table socketTable,
	do func(state string, inode uint64)) error {
	f, err := os.Open(p.Path("net/" + table.name))
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return errors.New("a line is too long")
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		state, inode := table.fields(line)
		if n, err := strconv.ParseUint(string(inode), 10, 64); err == nil { // no heading
			do(string(state), n)
		}
	}
}

// fields returns the state and the inode in a line of the table; the heading has none.
//
//	1: 0100007F:1F90 0100007F:A2C6 01 00000000:00000000 00:00000000 0 0 0 4185 1 ...
func (t socketTable) fields(line []byte) (state, inode []byte) {
	n := 0
	for field := range bytes.FieldsSeq(line) {
		switch n {
		case t.state:
			state = field
		case t.inode:
			return state, field
		}
		n++
	}
	return nil, nil
}
