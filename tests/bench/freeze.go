package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hapressure/haproxy"
	"hapressure/tests/haproxytest"
)

// batch is how many workers live at a time: each more makes a reload slower.
const batch = 100

// freeze measures how long purges hold the threads of workers while more processes want
// to run than there are CPUs, and the tunnel of the worker is in use. No purged cache
// is filled again, so each purge is of another worker.
func (s settings) freeze(ctx context.Context, t *table) error {
	var held []time.Duration
	killed, again := 0, 0
	for done := 0; done < s.freezes; done = len(held) + killed {
		progress("freeze, %d of %d purges", done, s.freezes)
		purges, err := s.freezeBatch(ctx, min(batch, s.freezes-done))
		if err != nil {
			return err
		}
		for _, p := range purges {
			if p == nil {
				killed++
				continue
			}
			held, again = append(held, p.Held), again+p.Tries-1
		}
	}
	t.add(fmt.Sprintf("threads held, %d purges under load", s.freezes),
		"median %s, p99 %s, worst %s; %d had to be tried again",
		ms(median(held)), ms(quantile(held, 0.99)), ms(quantile(held, 1)), again)
	t.add("the bound of a hold", "%v; %d of %d purges were killed by it", haproxy.HoldLimit, killed,
		s.freezes)
	t.add("the load", "%d processes that want a CPU, on %d CPUs", s.spinners*runtime.NumCPU(),
		runtime.NumCPU())
	return nil
}

// freezeBatch makes n stopping workers and purges them under load. A purge that its
// timer killed is nil.
func (s settings) freezeBatch(ctx context.Context, n int) ([]*purged, error) {
	srv, err := start(ctx, smallCache)
	if err != nil {
		return nil, err
	}
	defer srv.stop()
	var workers []*stopping
	for range n {
		w, err := srv.leave(ctx)
		if err != nil {
			return nil, err
		}
		defer w.tunnel.Close()
		workers = append(workers, w)
	}
	stop, err := s.spin(ctx)
	defer stop()
	if err != nil {
		return nil, err
	}
	var purges []*purged
	for _, w := range workers {
		p, err := w.purgeInUse(ctx)
		if err != nil {
			return nil, fmt.Errorf("worker %d: %w", w.pid, err)
		}
		purges = append(purges, p)
	}
	return purges, nil
}

// spin starts processes that want a CPU each, until stop is called.
func (s settings) spin(ctx context.Context) (stop func(), err error) {
	ctx, stop = context.WithCancel(ctx)
	for range s.spinners * runtime.NumCPU() {
		cmd := self(ctx, "spin")
		if err := cmd.Start(); err != nil {
			return stop, err
		}
		go cmd.Wait()
	}
	return stop, nil
}

// purgeInUse purges the worker while its tunnel carries data. nil: the purge was killed
// by its timer. It is a process of its own, because the timer kills the process that
// purges.
func (w *stopping) purgeInUse(ctx context.Context) (*purged, error) {
	pids, err := w.pids()
	if err != nil {
		return nil, err
	}
	args := []string{"purge", strconv.Itoa(w.pid)}
	for _, pid := range pids {
		args = append(args, strconv.Itoa(pid))
	}
	stop, used := make(chan struct{}), make(chan error, 1)
	go func() { used <- w.use(stop) }()
	cmd := self(ctx, args...)
	cmd.Stdin = strings.NewReader("\n")
	out, err := cmd.Output()
	close(stop)
	if uerr := <-used; uerr != nil {
		return nil, fmt.Errorf("using its tunnel: %w", uerr)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL &&
		ctx.Err() == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := new(purged)
	return p, json.Unmarshal([]byte(strings.TrimPrefix(string(out), "ready\n")), p)
}

// use sends data through the tunnel and back until stop is closed.
func (w *stopping) use(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := haproxytest.Echo(w.tunnel); err != nil {
			return err
		}
	}
}
