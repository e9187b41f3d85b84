package haproxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"hapressure/tests/haproxytest"
)

// peer is a client that connects in two steps, so that the purge can come in between. It
// is not safe for concurrent use.
type peer struct {
	name    string
	resumes bool // HAProxy resumes its sessions
	tickets bool // by tickets, which need no cache
	dialer
}

type dialer interface {
	Connect() error // TCP only
	// of the oldest such connection; echoes a message and closes it
	Handshake() (resumed bool, err error)
}

// newBarriers makes two clients, one for each address that peers connect to.
func newBarriers(h *haproxytest.HAProxy) []peer {
	conf := &tls.Config{InsecureSkipVerify: true}
	return []peer{
		{"barrier", false, false, &tlsClient{addr: h.Addr, conf: conf}},
		{"barrier with tickets", false, true, &tlsClient{addr: h.TicketAddr, conf: conf}},
	}
}

// newPeers makes one client for each way in which TLS uses the cache, or does without.
func newPeers(h *haproxytest.HAProxy) []peer {
	client := func(addr string, version uint16, resumes bool) *tlsClient {
		conf := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MinVersion: version,
			MaxVersion: version}
		if resumes {
			conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		return &tlsClient{addr: addr, conf: conf}
	}
	return []peer{
		{"TLS 1.2 by session ID", true, false, h.SessionIDClient()},
		{"TLS 1.2 by ticket", true, true, client(h.TicketAddr, tls.VersionTLS12, true)},
		{"TLS 1.2 in full", false, false, client(h.Addr, tls.VersionTLS12, false)},
		{"TLS 1.3 by session ID", true, false, client(h.Addr, tls.VersionTLS13, true)},
		{"TLS 1.3 by ticket", true, true, client(h.TicketAddr, tls.VersionTLS13, true)},
	}
}

// tlsClient is Go's. Without tickets it can resume only TLS 1.3, where the session's ID
// takes the place of the ticket.
type tlsClient struct {
	addr    string
	conf    *tls.Config
	waiting []net.Conn
}

func (c *tlsClient) Connect() error {
	conn, err := net.DialTimeout("tcp", c.addr, haproxytest.Deadline)
	if err == nil {
		c.waiting = append(c.waiting, conn)
	}
	return err
}

func (c *tlsClient) Handshake() (bool, error) {
	conn := tls.Client(c.waiting[0], c.conf)
	c.waiting = c.waiting[1:]
	err := haproxytest.Echo(conn)
	if c.conf.ClientSessionCache == nil {
		conn.NetConn().Close() // without TLS's goodbye, whereupon HAProxy drops the session
	} else {
		conn.Close()
	}
	return conn.ConnectionState().DidResume, err
}

// traffic makes handshakes and counts them.
type traffic struct {
	t             *testing.T
	full, resumed atomic.Int64
}

// each runs fn for every peer, all beside each other, and waits for them.
func each(peers []peer, fn func(peer)) {
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() { fn(p) })
	}
	wg.Wait()
}

func (tr *traffic) connect(p peer, n int) {
	for range n {
		if err := p.Connect(); err != nil {
			tr.t.Errorf("%s: connecting: %v", p.name, err)
		}
	}
}

// handshake completes n of the peer's connections and reports whether the last one was
// resumed.
func (tr *traffic) handshake(p peer, n int) (resumed bool) {
	for range n {
		var err error
		if resumed, err = p.Handshake(); err != nil {
			tr.t.Errorf("%s: %v", p.name, err)
		}
		if resumed {
			tr.resumed.Add(1)
		} else {
			tr.full.Add(1)
		}
	}
	return resumed
}

// start runs one loop of handshakes for each peer until the returned function is called,
// or the test ends.
func (tr *traffic) start(peers []peer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() {
			for ctx.Err() == nil && !tr.t.Failed() {
				tr.connect(p, 1)
				tr.handshake(p, 1)
			}
		})
	}
	stop = func() { cancel(); wg.Wait() }
	tr.t.Cleanup(stop)
	return stop
}

// tunnels are connections that must live through everything: TCP tunnels and HTTP/2
// streams, echoing all the time.
type tunnels struct {
	wg     sync.WaitGroup
	cancel context.CancelFunc
	open   []haproxytest.Tunnel
	echoes atomic.Int64
}

// openTunnels opens two of each, until close is called or the test ends.
func openTunnels(t *testing.T, h *haproxytest.HAProxy) *tunnels {
	t.Helper()
	var ctx context.Context
	tu := &tunnels{}
	ctx, tu.cancel = context.WithCancel(context.Background())
	for i := range 2 {
		stream, err := h.Stream()
		if err != nil {
			t.Fatal(err)
		}
		for j, c := range []haproxytest.Tunnel{h.Tunnel(), stream} {
			tu.open = append(tu.open, c)
			name := fmt.Sprintf("%s %d", []string{"TCP tunnel", "HTTP/2 stream"}[j], i)
			tu.wg.Go(func() {
				for ctx.Err() == nil {
					if err := haproxytest.Echo(c); err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					tu.echoes.Add(1)
				}
			})
		}
	}
	t.Cleanup(tu.close)
	return tu
}

// through waits until each tunnel has had the time for an echo.
func (tu *tunnels) through(h *haproxytest.HAProxy) {
	before := tu.echoes.Load()
	h.Eventually("the tunnels echo", func() error {
		if n := tu.echoes.Load() - before; n < int64(len(tu.open)) {
			return fmt.Errorf("%d echoes", n)
		}
		return nil
	})
}

func (tu *tunnels) close() {
	tu.cancel()
	tu.wg.Wait()
	for _, c := range tu.open {
		c.Close()
	}
}
