package haproxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hapressure/haproxy/proc"
)

// idleTime bounds the count of a worker's connections, of which it can have any number.
const idleTime = 5 * time.Second

// Idle returns the reason why a stopping worker has no traffic any more: it has no client
// connection, or one side has closed each of its TCP connections. "" if it may have
// traffic. A worker that stays like that is kept by a bug of HAProxy, by a timeout that
// is not set, or by a client of its CLI. It asks the worker, and reads the tables of all
// TCP connections: it is not for each tick.
//
// A process without a master cannot be asked. Then at least one TCP connection must be
// left, because others, such as QUIC's, cannot be counted.
func (w *Worker) Idle(ctx context.Context) (why string, err error) {
	clients, err := w.Connections(ctx)
	switch {
	case errors.Is(err, errNoMaster):
		clients = 1
	case err != nil:
		return "", err
	case clients == 0:
		return "it has no client connection", nil
	}
	ctx, cancel := context.WithTimeout(ctx, idleTime)
	defer cancel()
	p, err := proc.Open(w.procfs, w.ID)
	if err != nil {
		return "", err
	}
	defer p.Close()
	n, err := p.TCPConnections(ctx)
	if err != nil || n.Open > 0 || n.HalfClosed < clients {
		return "", err
	}
	return fmt.Sprintf("one side has closed each of its TCP connections (%d)", n.HalfClosed), nil
}
