// Storm makes the trouble hapressure is there for, and counts the damage.
//
// It runs as root on a throwaway machine with systemd, HAProxy and cgroup v2: it
// overwrites HAProxy's configuration, limits the unit's memory, and reloads again and
// again while long-lived tunnels keep every old worker alive. Progress goes to stderr
// for people, one line of JSON to stdout for programs. It exits 0 when the storm could
// be made, whatever it did to HAProxy: the damage is its result and not its error.
//
// It shares no code with hapressure on purpose: a witness that reads with the accused's
// eyes proves nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings are the storm's flags.
type settings struct {
	Kind          string
	Unit          string
	Limit         string
	Swap          string
	Reloads       int
	Tunnels       int
	Interval      time.Duration
	Burst         int // the last reloads, which follow each other without an interval
	CacheSize     int
	HeapMiB       int
	Certificates  int
	HardStop      time.Duration
	NbThread      int
	MaxConn       int
	NoCLI         bool
	NoMaster      bool
	ConfigDir     string
	Out           string
	Settle        time.Duration
	ReloadTimeout time.Duration
	BreakAt       int
	Before        string
}

// packagedUnit is that of Debian's package.
const packagedUnit = "haproxy.service"

// presets are the kinds of storm; every value can be overridden by its flag.
var presets = map[string]settings{
	"cache": {Reloads: 8, Tunnels: 20, Interval: 3 * time.Second, CacheSize: 1_000_000},
	"heap": {Reloads: 8, Tunnels: 20, Interval: 25 * time.Second, Burst: 4, CacheSize: 1_000_000,
		HeapMiB: 100},
	"map": {Reloads: 8, Tunnels: 20, Interval: 5 * time.Second, CacheSize: 20_000, HeapMiB: 290,
		Certificates: 200},
	"flood": {Reloads: 20, Tunnels: 5, Interval: 300 * time.Millisecond, CacheSize: 1_000_000},
}

// parseFlags reads args twice: the first pass finds the kind, whose preset gives the
// second pass its defaults.
func parseFlags(args []string) (settings, error) {
	kind := "cache"
	for range 2 {
		s, known := presets[kind]
		if !known {
			return settings{}, fmt.Errorf("parsing --kind %q: want cache, heap, map or flood",
				kind)
		}
		fs := flag.NewFlagSet("storm", flag.ContinueOnError)
		fs.StringVar(&s.Kind, "kind", kind,
			"cache, heap (a large map besides the cache), map (a larger one, certificates, and a "+
				"cache of the default size) or flood (reloads in close succession)")
		fs.StringVar(&s.Unit, "unit", packagedUnit, "HAProxy's systemd unit")
		fs.StringVar(&s.Limit, "limit", "1200M",
			"MemoryMax of the unit, with K, M or G; empty leaves its limits alone")
		fs.StringVar(&s.Swap, "swap", "0", "MemorySwapMax of a unit with --limit")
		fs.IntVar(&s.Reloads, "reloads", s.Reloads, "how many reloads")
		fs.IntVar(&s.Tunnels, "tunnels", s.Tunnels, "tunnels opened before each reload")
		fs.DurationVar(&s.Interval, "interval", s.Interval,
			"from the end of one reload to the start of the next")
		fs.IntVar(&s.Burst, "burst", s.Burst,
			"how many of the last reloads come without an interval")
		fs.IntVar(&s.CacheSize, "cache-size", s.CacheSize,
			"tune.ssl.cachesize, in blocks of about 248 bytes")
		fs.IntVar(&s.HeapMiB, "heap-mib", s.HeapMiB,
			"private memory of each worker, filled by a map")
		fs.IntVar(&s.Certificates, "certificates", s.Certificates,
			"how many further certificates each worker loads")
		fs.DurationVar(&s.HardStop, "hard-stop-after", 0,
			"HAProxy's own hard-stop-after; 0 leaves it out")
		fs.IntVar(&s.NbThread, "nbthread", 0, "HAProxy's nbthread; 0 leaves it to HAProxy")
		fs.IntVar(&s.MaxConn, "maxconn", 2000,
			"HAProxy's maxconn; 0 leaves it to HAProxy, which under systemd then takes about 50 MiB more a worker")
		fs.BoolVar(&s.NoCLI, "no-cli", false,
			"HAProxy's master has no CLI (-S): tell its workers apart by their age")
		fs.BoolVar(&s.NoMaster, "no-master", false,
			"HAProxy has no master: reloads are by -sf; haproxy.service is made to run so")
		fs.StringVar(&s.ConfigDir, "config-dir", "/etc/haproxy", "where haproxy.cfg is overwritten")
		fs.StringVar(&s.Out, "out", "", "also write the JSON line to this file")
		fs.DurationVar(&s.Settle, "settle", 5*time.Second,
			"how long to watch after the last reload")
		fs.DurationVar(&s.ReloadTimeout, "reload-timeout", 5*time.Minute,
			"a reload that is not in service after this has failed")
		fs.IntVar(&s.BreakAt, "break-config-at", 0,
			"number of the reload that is given an invalid configuration on purpose; 0 is none")
		fs.StringVar(&s.Before, "before", "",
			"shell command to run before each reload, with its number in RELOAD, and once more before the end")
		if err := fs.Parse(args); err != nil {
			return settings{}, err
		}
		if fs.NArg() > 0 {
			return settings{}, fmt.Errorf("parsing the command line: %q is not a flag", fs.Arg(0))
		}
		if s.Kind == kind {
			return s, s.check()
		}
		kind = s.Kind
	}
	return settings{}, errors.New("parsing --kind: given more than once")
}

// check refuses what would make a storm that means something else than it says.
func (s settings) check() error {
	for _, f := range []struct {
		name     string
		got, min int
	}{
		{"reloads", s.Reloads, 1}, {"tunnels", s.Tunnels, 0}, {"cache-size", s.CacheSize, 0},
		{"heap-mib", s.HeapMiB, 0}, {"certificates", s.Certificates, 0},
		{"nbthread", s.NbThread, 0},
		{"maxconn", s.MaxConn, 0}, {"break-config-at", s.BreakAt, 0},
	} {
		if f.got < f.min {
			return fmt.Errorf("parsing --%s %d: want at least %d", f.name, f.got, f.min)
		}
	}
	if s.BreakAt > 0 && (s.NoCLI || s.NoMaster) {
		return errors.New("parsing --break-config-at: only a master with a CLI tells of failed reloads, and there is --no-cli")
	}
	if s.BreakAt > s.Reloads {
		return fmt.Errorf("parsing --break-config-at %d: there are only %d reloads", s.BreakAt,
			s.Reloads)
	}
	_, err := parseBytes(s.Limit)
	return err
}

// parseBytes reads a size such as 1200M as systemd does: K, M and G are powers of 1024.
// Empty is 0.
func parseBytes(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	shift := map[byte]uint{'K': 10, 'M': 20, 'G': 30}[text[len(text)-1]]
	digits := text
	if shift > 0 {
		digits = text[:len(text)-1]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parsing the size %q: %w", text, err)
	}
	if n <= 0 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("parsing the size %q: out of range", text)
	}
	return n << shift, nil
}

func run() error {
	s, err := parseFlags(os.Args[1:])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	limit, err := parseBytes(s.Limit)
	if err != nil {
		return err
	}
	// The ports are those of no other service on a Debian with HAProxy; the guest runs
	// nothing else.
	layout := layout{Dir: s.ConfigDir, Address: "127.0.0.1", Packaged: true}
	if s.NoMaster && s.Unit == packagedUnit {
		if err := removeMaster(ctx, s.Unit); err != nil {
			return err
		}
	}
	r, err := storm(ctx, s, systemdUnit(s.Unit, limit, s.Swap, s.lister()), layout, os.Stderr)
	if err != nil {
		return err
	}
	line, err := r.line()
	if err != nil {
		return err
	}
	if s.Out != "" {
		if err := os.WriteFile(s.Out, line, 0o644); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	_, err = os.Stdout.Write(line)
	return err
}

func main() {
	err := run()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "storm:", strings.TrimSpace(err.Error()))
		os.Exit(1)
	}
}
