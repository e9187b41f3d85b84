package haproxy

import (
	"errors"
	"strings"
	"testing"

	"hapressure/tests/haproxytest"
)

// TestDetail holds that a stopping worker's maps, servers and caches are counted, and
// that no other worker is asked.
func TestDetail(t *testing.T) {
	for _, release := range haproxytest.Sample() {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			h := haproxytest.Start(t, haproxytest.Config{Release: release, CacheSize: 20_000,
				Sections: `
cache c
    total-max-size 4
backend b
    mode http
    acl two path /a /b
    http-request deny if two
    http-request set-header x %[src,map_str(DIR/haproxy.cfg)]
    http-request cache-use c
    server one 127.0.0.1:1
    server two 127.0.0.1:2
`})
			sc := NewScanner("/proc")
			h.Tunnel()
			h.SignalReload()
			workers := scan(t, sc, h, "one stopping and one current worker",
				hasStates(StateStopping, StateCurrent)).Workers
			d := workers[0].Detail(t.Context())
			if d.MemoryErr != nil || d.QuestionsErr != nil {
				t.Fatalf("%v, %v", d.MemoryErr, d.QuestionsErr)
			}
			c := d.Contents
			// The map has a line for each line of the configuration.
			if c.MapEntries < 10 || c.Largest.Entries != c.MapEntries ||
				!strings.HasSuffix(c.Largest.File, "haproxy.cfg") || c.ACLEntries < 2 {
				t.Errorf("maps and ACLs: %+v", c)
			}
			if c.Servers < 2 || c.Backends < 1 || c.Certificates < 1 {
				t.Errorf("servers, backends, certificates: %+v", c)
			}
			if d.PoolsHeld == 0 || d.PoolsUsed > d.PoolsHeld {
				t.Errorf("pools hold %d, of which %d are used", d.PoolsHeld, d.PoolsUsed)
			}
			if d.HTTPCaches == 0 || d.HTTPCaches > 5<<20 {
				t.Errorf("HTTP caches hold %d bytes, want some of 4 MiB", d.HTTPCaches)
			}
			if d := workers[1].Detail(t.Context()); !errors.Is(d.MemoryErr, errNotAsked) ||
				!errors.Is(d.QuestionsErr, errNotAsked) {
				t.Errorf("the current worker was examined: %+v", d)
			}
		})
	}
}
