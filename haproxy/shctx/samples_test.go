package shctx_test

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"hapressure/haproxy/shctx"
	"hapressure/tests/cachetest"
)

// realSamples are the beginnings and ends of shared contexts as real workers had them in
// memory, just started, with tune.ssl.cachesize 60 and nbthread 2, or a cache section.
// For each a line with the release and how it was built, the mapping and the program's
// code, each separated by a tab; then all words of 64 bits there that are not 0, as
// offset:value.
//
//go:embed testdata/contexts.txt
var realSamples string

type sample struct {
	name      string
	start     uint64
	mem       []byte
	code, end uint64 // where the program's code begins and ends
}

func parseSamples(t testing.TB) []sample {
	t.Helper()
	var all []sample
	for line := range strings.Lines(realSamples) {
		if !strings.HasPrefix(line, "\t") {
			f := strings.Split(line, "\t")
			var s sample
			var end uint64
			if _, err := fmt.Sscanf(f[1]+" "+f[2], "%x-%x %x-%x", &s.start, &end, &s.code,
				&s.end); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			s.name, s.mem = f[0], make([]byte, end-s.start)
			all = append(all, s)
			continue
		}
		for _, word := range strings.Fields(line) {
			var off int
			var v uint64
			if _, err := fmt.Sscanf(word, "%x:%x", &off, &v); err != nil {
				t.Fatalf("%q: %v", word, err)
			}
			binary.LittleEndian.PutUint64(all[len(all)-1].mem[off:], v)
		}
	}
	return all
}

func (s sample) recognise() (*shctx.Cache, error) {
	isCode := func(addr uint64) bool { return addr >= s.code && addr < s.end }
	return shctx.Memory{ReaderAt: bytes.NewReader(s.mem), Start: s.start,
		Length:   uint64(len(s.mem)),
		PageSize: uint64(os.Getpagesize()), IsCode: isCode}.TLSCache()
}

func TestRecogniseRealBuilds(t *testing.T) {
	const good = ""
	want := map[string]struct{ layout, reason, detail string }{
		"2.0.0": {"", shctx.OtherBlocks,
			"as 2.2-2.8: blocks of 196 bytes, not 200"},
		"2.4.0":    {"2.2-2.8", good, ""},
		"2.8.0":    {"2.2-2.8", good, ""},
		"2.9.0":    {"2.9-3.4", good, ""},
		"3.4.0":    {"2.9-3.4", good, ""},
		"3.5-dev5": {"3.5", good, ""},
		"2.4.0 USE_PTHREAD_PSHARED=1": {"", shctx.OtherLock,
			"as 2.2-2.8: its lock takes 40 bytes"},
		"2.5.0 DEBUG_THREAD": {"", shctx.DebugBuild,
			"as 2.2-2.8: its lock takes 48 bytes"},
		"2.8.0 DEBUG_THREAD": {"", shctx.DebugBuild,
			"as 2.2-2.8: its lock takes 288 bytes"},
		"3.0.0 DEBUG_THREAD": {"", shctx.DebugBuild,
			"as 2.9-3.4: its lock takes 800 bytes"},
		"3.5-dev5 DEBUG_THREAD=2": {"", shctx.DebugBuild,
			"as 3.5: its lock takes 1568 bytes"},
		"3.0.0 USE_THREAD=":    {"", shctx.NoLock, "as 2.9-3.4: its lock takes 0 bytes"},
		"3.5-dev5 USE_THREAD=": {"", shctx.NoLock, "as 3.5: its lock takes 0 bytes"},
		"2.8.0 SHSESS_BLOCK_MIN_SIZE=256": {"", shctx.OtherBlocks,
			"as 2.2-2.8: blocks of 328 bytes, not 200"},
		"2.8.0 HTTP cache": {"", shctx.HTTPCache,
			"as 2.2-2.8: blocks of 1024 bytes"},
		"2.9.0 HTTP cache": {"", shctx.HTTPCache,
			"as 2.9-3.4: blocks of 1024 bytes"},
		"3.4.0 HTTP cache": {"", shctx.HTTPCache,
			"as 2.9-3.4: blocks of 1024 bytes"},
		"3.5-dev5 HTTP cache": {"", shctx.HTTPCache, "as 3.5: blocks of 1024 bytes"},
		"3.4.0 start-up log": {"", shctx.NotACache,
			"as 3.5: no code at its callback 0x0"},
		"3.0.0 DEBUG_THREAD HTTP cache": {"", shctx.HTTPCache,
			"as 2.9-3.4: blocks of 1024 bytes"},
	}
	for _, s := range parseSamples(t) {
		w, ok := want[s.name]
		if !ok {
			t.Errorf("%s: nothing is wanted of it", s.name)
		}
		delete(want, s.name)
		c, err := s.recognise()
		var r *shctx.Refusal
		switch {
		case w.reason == good:
			if err != nil || c.Layout.Name != w.layout || c.Blocks != 60 || c.Empty {
				t.Errorf("%s: %+v, %v, want 60 blocks as %s", s.name, c, err, w.layout)
			}
		case !errors.As(err, &r) || *r != shctx.Refusal{w.reason, w.detail}:
			t.Errorf("%s: %+v, %v, want refusal %q: %s", s.name, c, err, w.reason, w.detail)
		}
	}
	if len(want) != 0 {
		t.Errorf("no samples of %v", want)
	}
}

// at is the sample as it were if it lay at another address and all code were one
// function.
func (s sample) at(start, code uint64) []byte {
	mem := bytes.Clone(s.mem)
	for off := 0; off < len(mem); off += 8 {
		switch v := binary.LittleEndian.Uint64(mem[off:]); {
		case v >= s.start && v < s.start+uint64(len(mem)):
			binary.LittleEndian.PutUint64(mem[off:], v-s.start+start)
		case v >= s.code && v < s.end:
			binary.LittleEndian.PutUint64(mem[off:], code)
		}
	}
	return mem
}

// The caches that other tests make up are what HAProxy makes: they differ from a real one
// in nothing but the callback.
func TestMadeUpCacheIsLikeARealOne(t *testing.T) {
	for _, s := range parseSamples(t) {
		c, err := s.recognise()
		if err != nil {
			continue
		}
		made := make([]byte, len(s.mem))
		cachetest.WriteTLS(made, c.Layout, s.start, int(c.Blocks))
		for off := 0; off < len(s.mem); off += 8 {
			real := binary.LittleEndian.Uint64(s.mem[off:])
			if v := binary.LittleEndian.Uint64(made[off:]); real != 0 && v != real &&
				off != c.Layout.FreeBlock {
				t.Errorf("%s: %#x at offset %d, made up %#x", s.name, real, off, v)
			}
		}
	}
}
