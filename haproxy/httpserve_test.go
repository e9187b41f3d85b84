package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"hapressure/haproxy/shctx"
	"hapressure/tests/cachetest"
	"hapressure/tests/haproxytest"
)

// site is a web site whose every page can be checked: what /SEED/SIZE/HOW returns follows
// from the seed and the size. HOW is how it is sent: at once, slow (in pieces, of
// unknown length), brief (valid for one second), torn (cut off in the middle).
func site(t *testing.T, vary bool) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, how := page(r.URL.Path)
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, r.URL.Path))
		w.Header().Set("Cache-Control", "max-age=60")
		if vary {
			w.Header().Set("Vary", "Accept-Encoding")
		}
		switch {
		case r.Method == http.MethodPost:
			return
		case how == "brief":
			w.Header().Set("Cache-Control", "max-age=1")
		case how == "torn":
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Write(body[:len(body)/2])
			panic(http.ErrAbortHandler)
		}
		if how != "slow" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Write(body)
			return
		}
		for chunk := range slices.Chunk(body, len(body)/5+1) {
			w.Write(chunk)
			w.(http.Flusher).Flush()
			pace(r.Context(), 2*time.Millisecond)
		}
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func page(path string) (body []byte, how string) {
	var seed, size int
	fmt.Sscanf(path, "/%d/%d/%s", &seed, &size, &how)
	rnd := rand.New(rand.NewPCG(uint64(seed), uint64(size)))
	body = make([]byte, size)
	for i := range body {
		body[i] = byte(rnd.Uint32())
	}
	return body, how
}

// pace makes a slow peer: it is the load's shape, not a wait for something.
func pace(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// visitors are clients of all kinds. Every byte of every response is compared.
type visitors struct {
	t                   *testing.T
	addr                string
	served, hits, fails atomic.Int64
}

var sizes = []int{1, 700, 1024, 5_000, 70_000, 400_000}

func (v *visitors) run(ctx context.Context, slow bool) {
	tr := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network,
		addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil && slow {
			err = c.(*net.TCPConn).SetReadBuffer(32 << 10)
		}
		return c, err
	}}
	defer tr.CloseIdleConnections()
	for ctx.Err() == nil {
		if err := v.visit(ctx, tr, slow); err != nil && ctx.Err() == nil {
			v.fails.Add(1)
			v.t.Error(err)
			return
		}
		pace(ctx, time.Duration(rand.IntN(20))*time.Millisecond)
	}
}

func (v *visitors) visit(ctx context.Context, tr *http.Transport, slow bool) error {
	how := []string{"once", "once", "once", "slow", "brief", "torn"}[rand.IntN(6)]
	path := fmt.Sprintf("/%d/%d/%s", rand.IntN(4), sizes[rand.IntN(len(sizes))], how)
	method := http.MethodGet
	kind := rand.IntN(10)
	if kind == 0 {
		method = http.MethodPost // HAProxy then forgets the page
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+v.addr+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", []string{"identity", "gzip", "br"}[rand.IntN(3)])
	if kind == 1 {
		req.Header.Set("If-None-Match", fmt.Sprintf(`"%x"`, path))
	}
	res, err := tr.RoundTrip(req)
	if how == "torn" && method == http.MethodGet && err != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer res.Body.Close()
	if kind == 2 {
		return nil // the client goes away
	}
	var body io.Reader = res.Body
	if slow {
		body = &slowReader{ctx, res.Body}
	}
	got, err := io.ReadAll(body)
	want, _ := page(path)
	switch {
	case method == http.MethodPost || res.StatusCode == http.StatusNotModified && kind == 1:
		want = nil
	case res.StatusCode != http.StatusOK:
		if how == "torn" && res.StatusCode == http.StatusBadGateway {
			return nil
		}
		return fmt.Errorf("%s: %s", path, res.Status)
	case how == "torn" && err != nil:
		want, err = want[:min(len(want), len(got))], nil
	}
	if err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("%s, hit %q: %d bytes of %d, the same %v, %w", path,
			res.Header.Get("X-Hit"), len(got), len(want),
			bytes.Equal(got, want), err)
	}
	v.served.Add(1)
	if res.Header.Get("X-Hit") != "" {
		v.hits.Add(1)
	}
	return nil
}

// slowReader takes some pages at a time, so that the response stays in HAProxy's hands
// for a while.
type slowReader struct {
	ctx context.Context
	r   io.Reader
}

func (s *slowReader) Read(b []byte) (int, error) {
	pace(s.ctx, time.Millisecond)
	return s.r.Read(b[:min(len(b), 32<<10)])
}

// varies reports whether the HTTP caches of a HAProxy are purged if they have
// process-vary: later ones are refused.
func varies(version string) bool { return strings.HasPrefix(version, "2.") && version < "2.9" }

// startCached runs HAProxy with two HTTP caches (the second one is not used), with
// process-vary where that may be, and visitors.
func startCached(t *testing.T, release string) (*haproxytest.HAProxy, *visitors, func()) {
	v := &visitors{t: t, addr: freeTCPAddr(t)}
	options, vary := "", varies(haproxytest.Version(t, release))
	if vary {
		options = "process-vary on"
	}
	h := haproxytest.Start(t, haproxytest.Config{Release: release, CacheSize: cacheSize,
		Threads: 4, Sections: fmt.Sprintf(`
cache pages
    total-max-size 8
    max-object-size 500000
    max-age 60
    %s
cache spare
    total-max-size 4
frontend cached
    mode http
    bind %s
    http-request cache-use pages
    http-response cache-store pages
    http-after-response set-header X-Hit 1 if { res.cache_hit }
    default_backend site
backend site
    mode http
    server site %s
`, options, v.addr, site(t, vary))})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() { v.run(ctx, i%3 == 0) })
	}
	return h, v, func() { cancel(); wg.Wait() }
}

func freeTCPAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// more waits until so many further responses have been served, hits among them if so
// wanted.
func (v *visitors) more(h *haproxytest.HAProxy, n int64, hits bool) {
	served, hit := v.served.Load(), v.hits.Load()
	h.Eventually("responses are served", func() error {
		if v.fails.Load() > 0 || v.served.Load() >= served+n && (!hits ||
			v.hits.Load() >= hit+n/4) {
			return nil
		}
		return fmt.Errorf("%d, %d of them hits", v.served.Load()-served, v.hits.Load()-hit)
	})
}

// openHTTPCaches opens the HTTP caches of p, the largest first.
func openHTTPCaches(t *testing.T, p *Stopping) (files []*cacheFile, caches []*shctx.Cache) {
	t.Helper()
	maps, err := sharedMappings(p.p)
	if err != nil {
		t.Fatal(err)
	}
	isCode, err := p.p.Code()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		c, err := openCache(p.p, m, os.O_RDWR, shctx.Memory.HTTPCache, isCode)
		if shctx.IsRefusal(err, shctx.NoHTTPCache) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		files, caches = append(files, c), append(caches, c.cache)
	}
	return files, caches
}

// withHTTPCache runs fn on the whole mapping while the worker's threads are stopped and
// no thread is inside. nbav is what it must be then.
func withHTTPCache(t *testing.T, c *cacheFile, cache *shctx.Cache, nbav uint32, fn func(mem []byte,
	h *shctx.Header)) {
	t.Helper()
	mem, err := syscall.Mmap(int(c.Fd()), 0, int(c.Mapping.Len()),
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(mem)
	h := cache.Header(mem, c.Mapping.Start)
	end := time.Now().Add(haproxytest.Deadline)
	for done := false; !done; {
		if time.Now().After(end) {
			t.Fatal("the cache was never idle")
		}
		_, err := hold(c.p, func() error {
			is := *word32(h, h.Layout.NBAV)
			h.Blocks = is // so that Idle checks the rest only
			if done = is == nbav && h.Idle() == nil; done {
				h.Blocks = cache.Blocks
				fn(mem, h)
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrCannotStop) {
			t.Fatal(err)
		}
	}
}

// A stopping worker's cache is left alone as long as a response is being served from it
// or stored in it, and both arrive whole.
func TestPurgeHTTPCacheWaitsForResponses(t *testing.T) {
	for _, release := range haproxytest.Sample() {
		t.Run("release "+release, func(t *testing.T) {
			goOn := make(chan struct{})
			half, _ := page("/7/400000/once")
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				w.Write(half[:200_000])
				if r.URL.Path == "/held" {
					w.(http.Flusher).Flush()
					<-goOn
				}
				w.Write(half[200_000:])
			}))
			defer s.Close()
			addr := freeTCPAddr(t)
			h := haproxytest.Start(t, haproxytest.Config{Release: release,
				Global: "tune.sndbuf.client 16384", Sections: fmt.Sprintf(`
cache pages
    total-max-size 8
    max-object-size 500000
frontend cached
    mode http
    bind %s
    http-request cache-use pages
    http-response cache-store pages
    http-after-response set-header X-Hit 1 if { res.cache_hit }
    default_backend site
backend site
    mode http
    server site %s
`, addr, strings.TrimPrefix(s.URL, "http://"))})
			get := func(path, hit string) *http.Response {
				t.Helper()
				tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn,
					error) {
					c, err := net.Dial("tcp", addr)
					if err == nil {
						err = c.(*net.TCPConn).SetReadBuffer(32 << 10)
					}
					return c, err
				}}
				res, err := tr.RoundTrip(must(http.NewRequestWithContext(t.Context(),
					http.MethodGet, "http://"+addr+path, nil)))
				if err != nil || res.Header.Get("X-Hit") != hit {
					t.Fatalf("%s: %v, %v, want hit %q", path, res, err, hit)
				}
				return res
			}
			rest := func(res *http.Response) {
				t.Helper()
				if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, half) {
					t.Errorf("%s: %d bytes, %v", res.Request.URL, len(got), err)
				}
				res.Body.Close()
			}
			rest(get("/whole", ""))
			served := get("/whole", "1")
			stored := get("/held", "")
			h.Tunnel()
			sc := NewScanner("/proc")
			h.SignalReload()
			old := scan(t, sc, h, "one stopping and one current worker", hasStates(StateStopping,
				StateCurrent)).Workers[0]
			p, err := sc.Recheck(t.Context(), old)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			purge := func(what string) {
				t.Helper()
				res, err := p.PurgeHTTPCaches(t.Context(), h.Pids())
				if !errors.Is(err, ErrBusy) || res.Freed() != 0 || res.Held != 0 {
					t.Errorf("while a response is %s: %+v, %v", what, res, err)
				}
			}
			purge("served and another stored")
			rest(served)
			purge("stored")
			close(goOn)
			rest(stored)
			h.Eventually("the cache is emptied", func() error {
				res, err := p.PurgeHTTPCaches(t.Context(), h.Pids())
				if err == nil && (res.Freed() < 8<<20 || res.After > pageSize) {
					t.Errorf("purge: %+v", res)
				}
				return err
			})
			if res, err := p.PurgeHTTPCaches(t.Context(), h.Pids()); err != nil ||
				res.Freed() != 0 || res.Tries != 0 {
				t.Errorf("purged again: %+v, %v", res, err)
			}
		})
	}
}

func must(r *http.Request, err error) *http.Request {
	if err != nil {
		panic(err)
	}
	return r
}

func word32(h *shctx.Header, off int) *uint32 { return (*uint32)(unsafe.Pointer(&h.Page[off])) }
func word64(h *shctx.Header, off int) *uint64 { return (*uint64)(unsafe.Pointer(&h.Page[off])) }

// inHand counts the blocks of a cache that are not in its list of available ones, by
// walking that list, and what else says that one is in use: what idle concludes from the
// header alone.
func inHand(mem []byte, h *shctx.Header) (int, error) {
	free, prev := 0, h.Start+shctx.OffAvail
	for addr := *word64(h, shctx.OffAvail); addr != h.Start+shctx.OffAvail; free++ {
		off := int(addr - h.Start)
		if (off-h.Layout.FirstBlock)%shctx.HTTPStride != 0 || off+shctx.HTTPStride > len(mem) ||
			*word64(h, off+8) != prev {
			return 0, fmt.Errorf("block %d of the list is at offset %d, back to %#x, not %#x", free,
				off, *word64(h, off+8), prev)
		}
		prev, addr = addr, *word64(h, off)
	}
	for i := range int(h.Blocks) {
		if n := *word32(h, h.Layout.FirstBlock+i*shctx.HTTPStride+24); n != 0 {
			return int(h.Blocks) - free, fmt.Errorf("block %d has %d users", i, n)
		}
	}
	return int(h.Blocks) - free, nil
}

// While pages are served and stored, whenever the header says that no stream holds a
// block, no block is held.
func TestIdleHTTPCacheHasNothingInHand(t *testing.T) {
	for _, release := range haproxytest.Sample() {
		t.Run("release "+release, func(t *testing.T) {
			h, v, stop := startCached(t, release)
			worker := h.Children()
			p, err := unproven(worker[len(worker)-1])
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			v.more(h, 80, true)
			files, caches := openHTTPCaches(t, p)
			mem, err := syscall.Mmap(int(files[0].Fd()), 0, int(files[0].Mapping.Len()),
				syscall.PROT_READ, syscall.MAP_SHARED)
			if err != nil {
				t.Fatal(err)
			}
			defer syscall.Munmap(mem)
			hd := caches[0].Header(mem, files[0].Mapping.Start)
			idle, busy := 0, 0
			for end := time.Now().Add(haproxytest.Deadline); (idle < 20*rounds() || busy < 20) &&
				v.fails.Load() == 0 && time.Now().Before(end); {
				pace(t.Context(), time.Millisecond)
				_, err := hold(p.p, func() error {
					if hd.Idle() != nil {
						busy++
						return nil
					}
					idle++
					n, err := inHand(mem, hd)
					if n != 0 && err == nil {
						err = fmt.Errorf("%d blocks in hand", n)
					}
					return err
				})
				if err != nil && !errors.Is(err, ErrCannotStop) {
					t.Fatalf("idle, but: %v", err)
				}
			}
			stop()
			if idle < 20 || busy < 20 {
				t.Errorf("found idle %d times, busy %d times", idle, busy)
			}
			t.Logf("HAProxy %s: found idle %d times, busy %d times, %d responses",
				h.Version, idle, busy, v.served.Load())
		})
	}
}

const pagesLimit = 500_000 // max-object-size of the cache

// rounds is how often each release is purged; HAPRESSURE_ROUNDS asks for more.
func rounds() int {
	n, _ := strconv.Atoi(os.Getenv("HAPRESSURE_ROUNDS"))
	return max(n, 3)
}

// The current worker is purged while it serves from its cache and stores into it: harder
// than a stopping one ever has it.
func TestPurgeHTTPCacheWhileServing(t *testing.T) {
	for _, release := range haproxytest.Sample() {
		t.Run("release "+release, func(t *testing.T) {
			h, v, stop := startCached(t, release)
			worker := h.Children()
			p, err := unproven(worker[len(worker)-1])
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			files, caches := openHTTPCaches(t, p)
			if len(caches) != 2 {
				t.Fatalf("%d caches, want 2", len(caches))
			}
			var held []time.Duration
			busy := 0
			for end := time.Now().Add(3 * haproxytest.Deadline); len(held) < rounds() &&
				v.fails.Load() == 0 && time.Now().Before(end); {
				if busy == 0 {
					v.more(h, 80, true)
				}
				res, err := p.PurgeHTTPCaches(t.Context(), h.Pids())
				if errors.Is(err, ErrBusy) || errors.Is(err, ErrCannotStop) {
					busy++
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				busy = 0
				held = append(held, res.Held)
				if n := len(held); n == 1 && res.Freed() < 12<<20-4*pageSize ||
					res.After > 2*pageSize {
					t.Errorf("purge %d: %+v", n, res)
				}
				v.more(h, 40, false)
				withHTTPCache(t, files[0], caches[0], 0, func(mem []byte, _ *shctx.Header) {
					cachetest.WriteHTTP(mem, caches[0].Layout, files[0].Mapping.Start,
						int(caches[0].Blocks), pagesLimit)
				})
			}
			v.more(h, 80, true)
			stop()
			if len(held) < rounds() {
				t.Errorf("%d purges", len(held))
			}
			if got := h.Children(); !slices.Equal(got, worker) {
				t.Errorf("workers %v, want %v", got, worker)
			}
			slices.Sort(held)
			t.Logf("HAProxy %s (%s): %d purges, %d responses, %d hits, held median %v, worst %v",
				h.Version, caches[0].Layout.Name, len(held),
				v.served.Load(), v.hits.Load(), held[len(held)/2], held[len(held)-1])
		})
	}
}

// A purge that dies between two stores leaves a cache with which HAProxy can work.
func TestHTTPCacheLivesWithEveryStoreBeingTheLast(t *testing.T) {
	for _, release := range haproxytest.Sample() {
		t.Run("release "+release, func(t *testing.T) {
			h, v, stop := startCached(t, release)
			worker := h.Children()
			p, err := unproven(worker[len(worker)-1])
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			files, caches := openHTTPCaches(t, p)
			c, cache := files[0], caches[0]
			stores := cachetest.HTTPStores(cache.Layout)
			for n := range stores {
				v.more(h, 80, true)
				withHTTPCache(t, c, cache, cache.Blocks, func(mem []byte, h *shctx.Header) {
					done := cache.Header(bytes.Clone(mem[:pageSize]), h.Start)
					if err := done.Clear(); err != nil {
						t.Fatal(err)
					}
					for _, st := range stores[:n] {
						copy(mem[st[0]:st[0]+st[1]], done.Page[st[0]:])
					}
				})
				v.more(h, 80, false)
				rest := cache.Blocks
				if n > 1 {
					rest = 0
				}
				withHTTPCache(t, c, cache, rest, func(mem []byte, _ *shctx.Header) {
					cachetest.WriteHTTP(mem, cache.Layout, c.Mapping.Start, int(cache.Blocks),
						pagesLimit)
				})
				if v.fails.Load() > 0 {
					t.Fatalf("after %d stores", n)
				}
			}
			stop()
			if got := h.Children(); !slices.Equal(got, worker) {
				t.Errorf("workers %v, want %v", got, worker)
			}
			t.Logf("HAProxy %s: %d cuts, %d responses, %d hits", h.Version, len(stores),
				v.served.Load(), v.hits.Load())
		})
	}
}

func TestHTTPCacheWithVaryIsRefused(t *testing.T) {
	for _, release := range haproxytest.Releases() {
		h := haproxytest.Start(t, haproxytest.Config{Release: release,
			Sections: "cache v\n    total-max-size 4\n    process-vary on\n"})
		p, err := unproven(h.Children()[len(h.Children())-1])
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		res, err := p.PurgeHTTPCaches(t.Context(), h.Pids())
		if varies(h.Version) {
			if err != nil || res.Freed() == 0 {
				t.Errorf("HAProxy %s: %+v, %v", h.Version, res, err)
			}
		} else if !shctx.IsRefusal(err, shctx.VaryCache) {
			t.Errorf("HAProxy %s: %+v, %v, want a refusal", h.Version, res, err)
		}
	}
}
