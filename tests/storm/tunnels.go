package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	echoEvery   = 500 * time.Millisecond
	echoTimeout = time.Minute
	openTimeout = time.Minute
)

// tunnels are the long-lived connections that keep old workers alive. Each is kept busy
// until the end, so that one that breaks is seen to break, and belongs to the
// generation that was in service when it was opened.
type tunnels struct {
	address string
	conf    *tls.Config
	began   time.Time

	busy   sync.WaitGroup
	mu     sync.Mutex
	opened int
	broken []brokenTunnel
}

// brokenTunnel is when and how a tunnel ended that the storm had not closed.
type brokenTunnel struct {
	Generation int     `json:"generation"`
	Seconds    float64 `json:"seconds"` // since the storm began
	How        string  `json:"how"`
}

// open opens n tunnels at once and keeps them busy until ctx ends. It returns what went
// wrong with those that did not open.
func (t *tunnels) open(ctx context.Context, n, generation int) error {
	var opening sync.WaitGroup
	failures := make([]error, n)
	for i := range n {
		opening.Go(func() {
			dialer := &tls.Dialer{Config: t.conf, NetDialer: &net.Dialer{Timeout: openTimeout}}
			dialing, cancel := context.WithTimeout(ctx, openTimeout)
			defer cancel()
			conn, err := dialer.DialContext(dialing, "tcp", net.JoinHostPort(t.address, tunnelPort))
			if err != nil {
				failures[i] = fmt.Errorf("opening a tunnel: %w", err)
				return
			}
			t.keep(ctx, conn, generation)
		})
	}
	opening.Wait()
	return errors.Join(failures...)
}

func (t *tunnels) keep(ctx context.Context, conn net.Conn, generation int) {
	t.mu.Lock()
	t.opened++
	number := t.opened
	t.mu.Unlock()
	t.busy.Go(func() {
		defer conn.Close()
		if err := useTunnel(ctx, conn, number); err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.broken = append(t.broken,
				brokenTunnel{generation, time.Since(t.began).Seconds(), howItEnded(err)})
		}
	})
}

// useTunnel sends a message and reads its echo about twice a second until ctx ends, and
// once more then: a tunnel counts as alive only if it carried bytes at the very end.
func useTunnel(ctx context.Context, conn net.Conn, number int) error {
	tick := time.NewTicker(echoEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		if err := exchange(conn, fmt.Sprintf("tunnel %d, message %d\n", number, i)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

var errWrongBytes = errors.New("the echo is not what was sent")

func exchange(conn net.Conn, message string) error {
	if err := conn.SetDeadline(time.Now().Add(echoTimeout)); err != nil {
		return fmt.Errorf("setting the echo's deadline: %w", err)
	}
	if _, err := io.WriteString(conn, message); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	back := make([]byte, len(message))
	if _, err := io.ReadFull(conn, back); err != nil {
		return fmt.Errorf("reading the echo: %w", err)
	}
	if !bytes.Equal(back, []byte(message)) {
		return errWrongBytes
	}
	return nil
}

// howItEnded puts the ends that a broken tunnel usually has into one word.
func howItEnded(err error) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "EOF"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no echo"
	}
	return err.Error()
}

// count returns how many tunnels were opened and which of them have broken so far.
func (t *tunnels) count() (opened int, broken []brokenTunnel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.opened, append([]brokenTunnel{}, t.broken...)
}
