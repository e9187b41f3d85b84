package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"
)

// stormRun is one storm under way.
type stormRun struct {
	settings
	unit    unit
	config  config
	out     io.Writer // progress, for people
	began   time.Time
	fresh   *fresh
	tunnels *tunnels
	meter   *meter
	live    *live // nil: not known at present
	report  report
}

// storm starts the unit, makes the storm and returns the damage. An error means that
// there was no storm to speak of.
func storm(ctx context.Context, s settings, u unit, l layout, out io.Writer) (*report, error) {
	r := &stormRun{settings: s, unit: u, out: out, began: time.Now(), report: newReport(s)}
	if err := r.prepare(l); err != nil {
		return nil, err
	}
	echoServer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the echo server: %w", err)
	}
	defer echoServer.Close()
	go echo(echoServer)
	webServer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the web server: %w", err)
	}
	defer webServer.Close()
	go http.Serve(webServer, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r.config.EchoServer, r.config.HTTPServer = echoServer.Addr().String(), webServer.Addr().String()
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	return r.make(ctx)
}

// prepare writes the files that stay the same through the storm.
func (r *stormRun) prepare(l layout) error {
	r.config = config{layout: l, CacheSize: r.CacheSize, NbThread: r.NbThread, MaxConn: r.MaxConn,
		Heap: r.HeapMiB > 0, HardStop: r.HardStop}
	conf, err := writeCertificate(l.file("storm.pem"), l.Address)
	if err != nil {
		return err
	}
	if r.HeapMiB > 0 {
		if err := writeMap(l.file("storm.map"), r.HeapMiB); err != nil {
			return err
		}
	}
	if r.Certificates > 0 {
		r.config.Certificates = " crt " + l.file("storm.d")
		err := copyCertificate(l.file("storm.pem"), l.file("storm.d"), r.Certificates)
		if err != nil {
			return err
		}
	}
	r.fresh = newFresh(l.Address, conf, r.began)
	r.tunnels = &tunnels{address: l.Address, conf: conf, began: r.began}
	return nil
}

// start starts the unit as generation 1 and waits until that answers.
func (r *stormRun) start(ctx context.Context) error {
	r.config.Generation = 1
	if err := r.config.write(); err != nil {
		return err
	}
	r.say("starting %s", r.Unit)
	ctx, cancel := context.WithTimeout(ctx, r.ReloadTimeout)
	defer cancel()
	if err := r.unit.start(ctx); err != nil {
		return fmt.Errorf("starting %s: %w", r.Unit, err)
	}
	dir, err := r.unit.cgroup(ctx)
	if err != nil {
		return err
	}
	r.meter = newMeter(group{dir})
	tick := time.NewTicker(freshEvery)
	defer tick.Stop()
	for {
		generation, err := r.fresh.get()
		if err == nil && generation == 1 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to answer: %w (the last attempt: %v)", r.Unit,
				ctx.Err(), err)
		case <-tick.C:
		}
	}
	r.fresh.once() // so that the newest generation is known to be 1 from here on
	return nil
}

// make does the reloads and gathers the damage.
func (r *stormRun) make(ctx context.Context) (*report, error) {
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	var watchers sync.WaitGroup
	watchers.Go(func() { r.fresh.run(watching) })
	watchers.Go(func() { r.meter.run(watching) })
	busy, stopTunnels := context.WithCancel(ctx)
	defer stopTunnels()

	for i := 1; i <= r.Reloads; i++ {
		if i > 1 && i <= r.Reloads-r.Burst {
			pause(ctx, r.Interval)
		}
		r.runBefore(ctx, i)
		r.oneReload(ctx, busy, i)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("making the storm: %w", context.Cause(ctx))
		}
	}
	r.say("the last reload is done; watching for %s", r.Settle)
	pause(ctx, r.Settle)
	r.runBefore(ctx, r.Reloads+1)

	r.checkLive()
	// The figures of the end come before the tunnels are closed: closing them lets the
	// old workers go.
	r.report.addMemory(r.meter)
	if p, err := r.unit.processes(ctx); err != nil {
		r.note("counting the workers: %v", err)
	} else {
		n := len(p.Workers) + len(p.OldWorkers)
		r.report.WorkersEnd = &n
	}
	stopWatching()
	watchers.Wait()
	stopTunnels()
	r.tunnels.busy.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("making the storm: %w", context.Cause(ctx))
	}
	r.report.addFresh(r.fresh)
	r.report.addTunnels(r.tunnels)
	r.report.LiveWorkerKept = r.report.LiveWorkerLost == 0
	r.report.Seconds = time.Since(r.began).Seconds()
	return &r.report, nil
}

// runBefore runs the command that is to run before reload i, if there is one.
func (r *stormRun) runBefore(ctx context.Context, i int) {
	if r.Before == "" {
		return
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", r.Before)
	cmd.Env = append(os.Environ(), fmt.Sprintf("RELOAD=%d", i))
	cmd.Stdout, cmd.Stderr = r.out, r.out
	if err := cmd.Run(); err != nil {
		r.note("before reload %d: %v", i, err)
	}
}

// progress prints one line on how things stand.
func (r *stormRun) progress(ctx context.Context, what string) {
	memory := "memory unknown"
	if now, err := r.meter.bytes("memory.current"); err == nil {
		memory = fmt.Sprintf("memory %d MiB", now>>20)
		if limit, err := r.meter.bytes("memory.max"); err == nil {
			memory += fmt.Sprintf(" of %d", limit>>20)
		}
	}
	workers := "workers unknown"
	if p, err := r.unit.processes(ctx); err == nil {
		workers = fmt.Sprintf("%d workers", len(p.Workers)+len(p.OldWorkers))
	}
	opened, broken := r.tunnels.count()
	stats := r.fresh.result()
	r.say("%s; %s; %s; tunnels alive %d of %d; fresh requests %d ok, %d failed",
		what, memory, workers, opened-len(broken), opened, stats.ok, stats.failed)
}

func (r *stormRun) say(format string, args ...any) {
	fmt.Fprintf(r.out, "[%6.1fs] %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// note keeps in the report what the storm could not do or see.
func (r *stormRun) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.say("%s", text)
	r.report.Notes = append(r.report.Notes, text)
}

// pause waits for d, or for ctx to end.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
