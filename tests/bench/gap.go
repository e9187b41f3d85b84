package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"hapressure/tests/haproxytest"
)

const pingEvery = 500 * time.Microsecond

// gap compares what a tunnel through a worker feels of a sweep with what it feels of
// none. Sweep and idle time alternate in their order.
func (s settings) gap(ctx context.Context, t *table) error {
	if free, err := memInfo("MemAvailable"); err != nil || uint64(s.gapSize)<<30+spare > free {
		t.add(fmt.Sprintf("gap while %d GiB are swept", s.gapSize),
			"left out: only %.1f GiB are available", gibs(free))
		return err
	}
	var idle, swept []time.Duration
	length := time.Second
	for pair := range s.pairs {
		progress("gap, pair %d of %d", pair+1, s.pairs)
		w, err := startStopping(ctx, uint64(s.gapSize)<<30)
		if err != nil {
			return err
		}
		rest := func() error {
			got, err := ping(w.tunnel, time.After(length))
			idle = append(idle, got...)
			return err
		}
		sweep := func() error {
			began := time.Now()
			got, err := w.pingDuringPurge(ctx)
			length = time.Since(began)
			swept = append(swept, got...)
			return err
		}
		order := []func() error{rest, sweep}
		if pair%2 == 1 {
			order = []func() error{sweep, rest}
		}
		for _, do := range order {
			if err == nil {
				err = do()
			}
		}
		w.stop()
		if err != nil {
			return err
		}
	}
	for _, c := range []struct {
		name string
		part float64
	}{{"median", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"worst", 1}} {
		t.add("tunnel's round trip, "+c.name, "%s idle, %s while %d GiB are swept",
			ms(quantile(idle, c.part)), ms(quantile(swept, c.part)), s.gapSize)
	}
	t.add("round trips measured", "%d idle, %d in sweeps", len(idle), len(swept))
	t.atMost("p99.9 of the round trip, swept / idle",
		quantile(swept, 0.999).Seconds()/quantile(idle, 0.999).Seconds(), 1.5)
	return nil
}

// pingDuringPurge purges the worker in a process of its own, as hapressure is one, and
// returns the tunnel's round trips meanwhile.
func (w *stopping) pingDuringPurge(ctx context.Context) ([]time.Duration, error) {
	pids, err := w.pids()
	if err != nil {
		return nil, err
	}
	args := []string{"purge", fmt.Sprint(w.pid)}
	for _, pid := range pids {
		args = append(args, fmt.Sprint(pid))
	}
	cmd := self(ctx, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer cmd.Wait()
	out := bufio.NewReader(pipe)
	if _, err := out.ReadString('\n'); err != nil {
		return nil, err
	}
	io.WriteString(in, "go\n")
	done := make(chan time.Time)
	var p purged
	go func() { err = json.NewDecoder(out).Decode(&p); close(done) }()
	got, perr := ping(w.tunnel, done)
	<-done
	if err != nil {
		return nil, fmt.Errorf("purging pid %d: %w", w.pid, err)
	}
	return got, perr
}

// ping sends a few bytes through the tunnel at a steady rate until done, and returns
// how long each took to come back.
func ping(tunnel net.Conn, done <-chan time.Time) ([]time.Duration, error) {
	var took []time.Duration
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return took, nil
		case <-tick.C:
		}
		began := time.Now()
		if err := haproxytest.Echo(tunnel); err != nil {
			return nil, fmt.Errorf("using the tunnel: %w", err)
		}
		took = append(took, time.Since(began))
	}
}
