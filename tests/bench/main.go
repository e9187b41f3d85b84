// Bench measures what the purge and the scan cost on a real HAProxy of this machine,
// and exits 1 if one of them misses its target. It needs root, HAProxy 2.5 to 3.0, and
// a machine with nothing else to do: all targets are ratios of two figures of the same
// run, but a busy machine makes them worthless all the same.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type settings struct {
	parts       string
	sizes       string
	rounds      int
	gapSize     int
	pairs       int
	workers     int
	masters     int
	freezes     int
	spinners    int
	idleFor     time.Duration
	idleWorkers int
	haproxies   programs
	load        time.Duration
	reloads     int
	old         int
	swaps       string
	swapSize    int64
	entries     int
	certs       int
	pageOutRate uint64
	busy        float64
	pageOutFor  time.Duration
	ksmPages    int
}

func main() {
	var s settings
	flag.StringVar(&s.parts, "parts", "sweep,gap,scale,freeze,idle,reload", "what to measure")
	flag.StringVar(&s.sizes, "sizes", "1,4,16",
		"sweep: caches of so many GiB; those that MemAvailable has no room for are left out")
	flag.IntVar(&s.rounds, "rounds", 3,
		"sweep: how often each size is measured; the medians are compared")
	flag.IntVar(&s.gapSize, "gap-size", 4, "gap: GiB swept")
	flag.IntVar(&s.pairs, "pairs", 5, "gap: pairs of a sweep and an idle time of the same length")
	flag.IntVar(&s.workers, "workers", 1000, "scale: how many stopping workers")
	flag.IntVar(&s.masters, "masters", 1, "scale: among how many masters")
	flag.IntVar(&s.freezes, "freezes", 1000, "freeze: how many workers are purged")
	flag.IntVar(&s.spinners, "spinners", 4, "freeze: for each CPU, processes that want all of it")
	flag.DurationVar(&s.idleFor, "idle-for", 2*time.Minute, "idle: how long the daemon is watched")
	flag.IntVar(&s.idleWorkers, "idle-workers", 10, "idle: how many stopping workers")
	flag.Var(&s.haproxies, "haproxy",
		"reload, pageout, ksm: a HAProxy to measure, the host's by default; may be repeated")
	flag.DurationVar(&s.load, "load", time.Minute,
		"reload: how long one reload is made to load; 0 leaves that out")
	flag.IntVar(&s.reloads, "reloads", 60,
		"reload: how many reloads, one every second, beside many stopping workers; 0 leaves that out")
	flag.IntVar(&s.old, "old", 400, "reload: how many stopping workers that is")
	flag.StringVar(&s.swaps, "swap", "zram,file", "pageout: kinds of swap, which it makes")
	flag.Int64Var(&s.swapSize, "swap-size", 2048, "pageout: MiB of swap")
	flag.IntVar(&s.entries, "entries", 1_400_000, "pageout: entries of the map")
	flag.IntVar(&s.certs, "certs", 5000, "pageout: certificates")
	flag.Uint64Var(&s.pageOutRate, "rate", 64, "pageout: MiB a second, at most")
	flag.Float64Var(&s.busy, "busy", 5, "pageout: percent of a CPU that a worker may use")
	flag.DurationVar(&s.pageOutFor, "phase", 30*time.Second,
		"pageout: how long round trips are measured before and after")
	flag.IntVar(&s.ksmPages, "pages-to-scan", 100,
		"ksm: pages at a time; 100 is the kernel's default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch flag.Arg(0) {
	case "":
		err = s.run(ctx)
	case "daemon": // the others are the processes that the measurements start
		err = daemon(flag.Arg(1), flag.Args()[2:])
	case "hold":
		err = hold(flag.Arg(1))
	case "spin":
		for n := uint64(0); ctx.Err() == nil; n++ {
		}
	case "purge":
		err = purge(ctx, flag.Args()[1:])
	case "mergeable":
		err = mergeable(flag.Args()[1:])
	default:
		err = fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func (s settings) run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("it reads and empties other processes' memory: run it as root")
	}
	if _, err := exec.LookPath("haproxy"); err != nil {
		return fmt.Errorf("looking for HAProxy (apt install haproxy): %w", err)
	}
	// Should memory run out all the same, it is ours that the kernel takes.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0o644); err != nil {
		return err
	}
	t := table{}
	for part := range strings.SplitSeq(s.parts, ",") {
		var err error
		switch part {
		case "sweep":
			err = s.sweep(ctx, &t)
		case "gap":
			err = s.gap(ctx, &t)
		case "scale":
			err = s.scale(ctx, &t)
		case "freeze":
			err = s.freeze(ctx, &t)
		case "idle":
			err = s.idle(ctx, &t)
		case "reload":
			err = s.reload(ctx, &t)
		case "pageout":
			err = s.pageOut(ctx, &t)
		case "ksm":
			err = s.ksm(ctx, &t)
		default:
			err = errors.New("want sweep, gap, scale, freeze, idle, reload, pageout or ksm")
		}
		if err != nil {
			t.print(os.Stdout) // what there is
			return fmt.Errorf("measuring %q: %w", part, err)
		}
	}
	return t.print(os.Stdout)
}

// self starts this program again for one of its other tasks.
func self(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	return cmd
}

// hold keeps a shared anonymous mapping of so many bytes, every page of it written,
// until it is killed.
func hold(bytes string) error {
	n, err := strconv.Atoi(bytes)
	if err != nil {
		return err
	}
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("mapping %d bytes: %w", n, err)
	}
	for i := 0; i < n; i += os.Getpagesize() {
		mem[i] = 1
	}
	fmt.Println("ready")
	select {}
}

// purge waits for a line, purges the worker named by the first pid, and prints what
// came of it.
func purge(ctx context.Context, args []string) error {
	var pids []int
	for _, a := range args {
		pid, err := strconv.Atoi(a)
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	fmt.Println("ready")
	fmt.Scanln()
	p, err := purgePID(ctx, pids[0], pids)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p)
}

// memInfo returns a field of /proc/meminfo in bytes.
func memInfo(field string) (uint64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), "\n"+field+":")
	var kb uint64
	if _, err := fmt.Sscan(rest, &kb); !ok || err != nil {
		return 0, fmt.Errorf("parsing meminfo: no %s", field)
	}
	return kb << 10, nil
}

// progress shows on a terminal what is being done.
func progress(format string, args ...any) {
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err != nil {
		return
	}
	fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.3f ms", d.Seconds()*1e3) }
