// Command demo shows what hapressure is for, on a throwaway machine: the same storm of
// reloads without it and with it, side by side.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"hapressure/tests/guest"
)

const intro = `
A machine with HAProxy gets a new configuration eight times. Each reload leaves the old HAProxy
worker behind, because clients are still connected to it (20 TLS tunnels each), and with it what the
old worker holds. Each storm of reloads is run twice on a throwaway Debian guest: first as it is,
then with hapressure. The guest is emulated, so it is slow: expect about 20 minutes.

First act: each worker holds a TLS session cache of 240 MiB, which nothing will ever use again.
HAProxy may use 1200 MiB. hapressure frees the caches, and no connection is cut.

Second act: each worker holds a map and certificates of 100 MiB instead, and HAProxy may use 440
MiB. Nothing can be freed but by ending workers, so hapressure ends the oldest ones, before a reload
fails.
`

// script runs all storms and prints marks between them for the reader of its output. A
// storm whose reloads fail has done its job.
const script = `
set -eu
map="--kind map --heap-mib 95 --certificates 60 --limit 440M"
afresh() {
	systemctl stop haproxy
	systemctl reset-failed haproxy 2>/dev/null || true # it has not always failed
}
echo "#### First act, without hapressure"
./storm --kind cache $STORM --out /out/cache-without.json >/dev/null || true
afresh
echo "#### Second act, without hapressure"
./storm $map $STORM --out /out/map-without.json >/dev/null || true
afresh
install -m 755 hapressure /usr/bin/hapressure
install -m 644 hapressure.service /etc/systemd/system/hapressure.service
install -D -m 644 org.hapressure1.conf /usr/share/dbus-1/system.d/org.hapressure1.conf
systemctl daemon-reload
echo "#### First act, with hapressure (its journal entries are the lines with >>)"
systemctl start hapressure
journalctl --follow --lines=all --output=cat SYSLOG_IDENTIFIER=hapressure | sed -u 's/^/  >> /' &
./storm --kind cache $STORM --out /out/cache-with.json \
  --before 'hapressure status >/out/status' >/dev/null || true
echo "#### hapressure status, after the last reload"
cat /out/status
afresh
echo "#### Second act, with hapressure"
./storm $map $STORM --out /out/map-with.json \
  --before 'hapressure workers --detail >/out/workers' >/dev/null || true
kill %1 || true
echo "#### hapressure workers --detail, after the last reload"
cat /out/workers
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	storm := ""
	flag.BoolFunc("sf", "run HAProxy without a master, reloaded by -sf", func(string) error {
		storm = "--no-master"
		return nil
	})
	flag.Parse()
	if err := demo(ctx, storm); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// demo runs all storms with further flags of the storm.
func demo(ctx context.Context, storm string) error {
	fmt.Print(intro, "\n")
	dir, err := os.MkdirTemp("", "hapressure-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, pkg := range []string{"hapressure/cmd/hapressure", "hapressure/tests/storm"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building %s: %w", pkg, err)
		}
	}
	if err := guest.Prepare(ctx, "trixie", os.Stdout); err != nil {
		return err
	}
	res, err := guest.Boot(ctx, guest.Spec{
		Suite: "trixie",
		Files: map[string]string{
			"hapressure":           filepath.Join(dir, "hapressure"),
			"storm":                filepath.Join(dir, "storm"),
			"hapressure.service":   "packaging/hapressure.service",
			"org.hapressure1.conf": "packaging/org.hapressure1.conf",
		},
		Run: "STORM=" + storm + script, Timeout: 40 * time.Minute,
		Live: &wrapped{w: os.Stdout, width: 150},
	})
	if err != nil {
		return err
	}
	defer res.Remove()
	if res.ExitStatus != 0 {
		return fmt.Errorf("the script in the guest ended with %d", res.ExitStatus)
	}
	if err := os.MkdirAll("dist", 0o755); err != nil {
		return err
	}
	for _, a := range acts {
		without, with, err := readReports(res.Dir, a.kind)
		if err != nil {
			return err
		}
		if err := os.WriteFile("dist/"+a.picture, []byte(picture(a.title, without, with)),
			0o644); err != nil {
			return err
		}
		if err := table(os.Stdout, a.title, without, with); err != nil {
			return err
		}
	}
	return nil
}

// acts are the storms of the demo. Each has a picture, in dist and in docs.
var acts = []struct{ kind, title, picture string }{
	{"cache", "Eight reloads of HAProxy, each worker with a session cache of 240 MiB", "demo.svg"},
	{"map", "Eight reloads of HAProxy, each worker with a map of 100 MiB", "demo-map.svg"},
}

// report is what the demo shows of a storm's report; null means not known.
type report struct {
	Reloads       int     `json:"reloads"`
	ReloadsFailed int     `json:"reloads_failed"`
	OOMKills      *int    `json:"oom_kills"`
	TunnelsOpened int     `json:"tunnels_opened"`
	TunnelsAlive  int     `json:"tunnels_alive"`
	FreshOK       int     `json:"fresh_ok"`
	FreshFailed   int     `json:"fresh_failed"`
	PeakBytes     *uint64 `json:"peak_bytes"`
	EndBytes      *uint64 `json:"end_bytes"`
}

// readReports reads the reports of both storms of a kind.
func readReports(dir, kind string) (without, with report, err error) {
	if without, err = readReport(filepath.Join(dir, kind+"-without.json")); err == nil {
		with, err = readReport(filepath.Join(dir, kind+"-with.json"))
	}
	return without, with, err
}

func readReport(path string) (report, error) {
	var r report
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, fmt.Errorf("the storm left no report: %w", err)
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// figure is one figure of a storm that the demo compares.
type figure struct {
	name string
	text func(report) string
	size func(report) int // how long its bar is, beside that of the other storm
}

var figures = []figure{
	{"reloads that failed",
		func(r report) string { return fmt.Sprintf("%d of %d", r.ReloadsFailed, r.Reloads) },
		func(r report) int { return r.ReloadsFailed }},
	{"processes killed by the kernel",
		func(r report) string {
			return known(r.OOMKills,
				func(n int) string { return fmt.Sprint(n) })
		},
		func(r report) int { return zeroIfUnknown(r.OOMKills) }},
	{"tunnels alive at the end",
		func(r report) string { return fmt.Sprintf("%d of %d", r.TunnelsAlive, r.TunnelsOpened) },
		func(r report) int { return r.TunnelsAlive }},
	{"new requests answered / failed",
		func(r report) string { return fmt.Sprintf("%d / %d", r.FreshOK, r.FreshFailed) },
		func(r report) int { return r.FreshOK }},
	{"most memory used",
		func(r report) string { return known(r.PeakBytes, mib) },
		func(r report) int { return int(zeroIfUnknown(r.PeakBytes) >> 20) }},
	{"memory used at the end",
		func(r report) string { return known(r.EndBytes, mib) },
		func(r report) int { return int(zeroIfUnknown(r.EndBytes) >> 20) }},
}

func zeroIfUnknown[T any](v *T) T {
	if v == nil {
		return *new(T)
	}
	return *v
}

func table(w io.Writer, title string, without, with report) error {
	fmt.Fprintf(w, "\n%s\n", title)
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(tw, "\twithout hapressure\twith hapressure\n")
	for _, f := range figures {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", f.name, f.text(without), f.text(with))
	}
	return tw.Flush()
}

func known[T any](v *T, show func(T) string) string {
	if v == nil {
		return "not known"
	}
	return show(*v)
}

func mib(b uint64) string { return fmt.Sprintf("%d MiB", b>>20) }

// wrapped breaks long lines between words, so that the journal's entries can be read.
type wrapped struct {
	w     io.Writer
	width int
	buf   []byte
}

func (l *wrapped) Write(p []byte) (int, error) {
	l.buf = append(l.buf, p...)
	for {
		line, rest, ok := bytes.Cut(l.buf, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.buf = rest
		if _, err := fmt.Fprintln(l.w, wrap(string(line), l.width)); err != nil {
			return 0, err
		}
	}
}

func wrap(line string, width int) string {
	var out strings.Builder
	for len(line) > width {
		at := strings.LastIndexByte(line[:width], ' ')
		if at <= 8 {
			break
		}
		out.WriteString(line[:at] + "\n        ")
		line = line[at+1:]
	}
	out.WriteString(line)
	return out.String()
}
