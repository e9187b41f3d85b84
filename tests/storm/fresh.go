package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	freshEvery   = 100 * time.Millisecond
	freshTimeout = 30 * time.Second
	// freshAtOnce bounds the visitors under way. On an emulated machine ten handshakes
	// a second can be more than it does; visitors who pile up would then be a storm of
	// their own, and a reload would take minutes for their sake.
	freshAtOnce = 2
	keptErrors  = 5
)

// fresh is the visitor that comes by all the time: a new TLS connection and one GET,
// and what came of each.
type fresh struct {
	client *http.Client
	url    string
	began  time.Time

	mu      sync.Mutex
	stats   freshStats
	newest  int           // highest generation that has answered
	changed chan struct{} // closed, and replaced, when newest rises
}

type freshStats struct {
	ok, failed int
	errors     []string // the first few
	slowest    time.Duration
}

func newFresh(address string, conf *tls.Config, began time.Time) *fresh {
	return &fresh{
		client: &http.Client{
			// Without keep-alive every request is a connection and a handshake of its
			// own.
			Transport: &http.Transport{TLSClientConfig: conf.Clone(), DisableKeepAlives: true},
			Timeout:   freshTimeout,
		},
		url:     "https://" + net.JoinHostPort(address, freshPort) + "/",
		began:   began,
		stats:   freshStats{errors: []string{}},
		changed: make(chan struct{}),
	}
}

// run starts a request every tenth of a second until ctx ends, and returns when the
// last has been answered. A turn for which freshAtOnce requests are still waiting is
// left out.
func (f *fresh) run(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	tick := time.NewTicker(freshEvery)
	defer tick.Stop()
	free := make(chan struct{}, freshAtOnce)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case free <- struct{}{}:
			under.Go(func() { f.once(); <-free })
		default:
		}
	}
}

func (f *fresh) once() {
	start := time.Now()
	generation, err := f.get()
	f.record(generation, err, start, time.Now())
}

func (f *fresh) record(generation int, err error, start, end time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.slowest = max(f.stats.slowest, end.Sub(start))
	if err != nil {
		f.stats.failed++
		if len(f.stats.errors) < keptErrors {
			f.stats.errors = append(f.stats.errors,
				fmt.Sprintf("%.1fs: %v", start.Sub(f.began).Seconds(), err))
		}
		return
	}
	f.stats.ok++
	if generation > f.newest {
		f.newest = generation
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

// get does one request and returns the generation that answered it.
func (f *fresh) get() (int, error) {
	answer, err := f.client.Get(f.url)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, fmt.Errorf("reading the answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %s", answer.Status)
	}
	generation, err := strconv.Atoi(answer.Header.Get(generationHeader))
	if err != nil {
		return 0, fmt.Errorf("parsing %s: %w", generationHeader, err)
	}
	return generation, nil
}

// generation returns the highest generation that has answered, and a channel that is
// closed when a higher one does.
func (f *fresh) generation() (int, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newest, f.changed
}

func (f *fresh) result() freshStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats
}
