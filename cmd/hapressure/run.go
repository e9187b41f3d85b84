package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hapressure/cgroup"
	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/haproxy"
	"hapressure/policy"
	"hapressure/systemd"
)

const (
	recordingsMiB = 16      // the default of --recordings-size
	maxRecordings = 1 << 20 // the most that it takes, in MiB: 1 TiB
)

// options are the flags of run.
type options struct {
	files      []string
	dryRun     bool
	recordings string
	mib        int
	socket     string
	metrics    string
}

func runCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Guard HAProxy until stopped; what the service runs",
		Long: `Guard the targets of the policy until SIGTERM or SIGINT. Every change of tier and every action is one entry in the journal, or
one line on standard error where that is not the journal.

Without --policy the policy is ` + policyFile + ` if it exists, else the built-in one, which guards haproxy.service, with the
drop-ins in ` + dropIns[0] + `.

One daemon acts on a host: it locks ` + lockFile + `. A second one waits ` + lockWait.String() + ` for the first to end, and is then
refused. With --dry-run any number may run.

Exit codes: 0 stopped by a signal, 1 failed, 2 wrong usage, 3 another daemon runs.`,
		Example: "  hapressure run --dry-run\n  hapressure run --policy ./policy.yaml",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageError{err}
			}
			return run(cmd.Context(), o)
		},
	}
	policyFlag(cmd, &o.files)
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "decide and tell, but touch no worker")
	cmd.Flags().StringVar(&o.recordings, "recordings", stateFile("recordings"), "folder for recordings of what is sensed, decided and done; empty for none")
	cmd.Flags().IntVar(&o.mib, "recordings-size", recordingsMiB, "bound of each target's recordings, in MiB; those of targets that are gone may have 16 times as much together")
	cmd.Flags().StringVar(&o.socket, "control", control.Socket, "control socket, where systemd gives none; empty for none")
	allowEmpty(cmd, "recordings")
	allowEmpty(cmd, "control")
	cmd.Flags().StringVar(&o.metrics, "metrics", "", "answer GET /metrics at this TCP `ADDRESS`, as 127.0.0.1:19787, to anybody")
	return cmd
}

// check returns what is wrong with the flags.
func (o options) check() error {
	if o.mib < 1 || o.mib > maxRecordings {
		return fmt.Errorf("--recordings-size %d: it takes a number of MiB from 1 to %d; to keep no recordings, use --recordings ''",
			o.mib, maxRecordings)
	}
	if o.metrics == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(o.metrics)
	if n, perr := strconv.ParseUint(port, 10, 16); err == nil && (perr != nil || n == 0) {
		err = fmt.Errorf("the port %q is not a number from 1 to 65535", port)
	}
	if err != nil {
		return fmt.Errorf("--metrics %q: it takes an address and a port, as 127.0.0.1:19787: %w", o.metrics, err)
	}
	return nil
}

func policyFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "policy", "p", nil, "policy `FILE` instead of this host's; given again, a drop-in")
}

func run(ctx context.Context, o options) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before systemd is told that we are ready for it
	// Should journald crash, standard error is a broken pipe, of which a Go program dies unless somebody takes the signal. It is not
	// ignored: what we start would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	journal := controller.NewJournal(os.Stderr)
	defer closeJournal(journal)
	if !o.dryRun {
		if err := lockThisHost(journal); err != nil {
			return err
		}
	}
	r := &reloader{hup: hup, asked: make(chan chan error), names: o.files, keeping: make(chan lastPolicy, 1), journal: journal}
	r.kept = cmp.Or(stateFile("policy/in-force"), runtimeFile("policy/in-force"))
	p, from, mistakes := r.begin()
	if p == nil {
		return mistakes
	}
	ctx, stop := untilSignal(ctx) // from here on there is something to end in order
	defer stop()
	go r.keepLast(ctx)
	config, err := configOf(p, r.journal)
	if err != nil {
		return err
	}
	config.DryRun, config.Origin = o.dryRun, from
	config.Daemon = &status.Daemon{Version: version, PID: os.Getpid(), Started: time.Now(), DryRun: o.dryRun,
		MissingRights: haproxy.MissingRights(procfs)}
	config.Status = func(text string) { systemd.Status(text) }
	config.Keep = runtimeFile("")
	keepRecordings(&config, o.recordings, o.mib)
	c := controller.New(config)
	if mistakes != nil {
		c.KeepPolicy(mistakes)
	}
	r.to = c
	mode := ""
	if o.dryRun {
		mode = ", dry run: no worker will be touched"
	}
	events := controller.Events{Journal: journal}
	events.Started(version, from, mode)
	for _, m := range config.Daemon.MissingRights {
		events.RightMissing(m)
	}
	if err := systemd.Ready(); err != nil {
		return fmt.Errorf("telling systemd that we are ready: %w", err)
	}
	stay()
	go watchdog(ctx, c)
	go r.follow(ctx)
	metrics := c.Metrics()
	serve(ctx, control.Handler(c, r.ask, metrics), metrics, r.journal, o)
	c.Run(ctx)
	systemd.Stopping()
	events.Stopped()
	return nil
}

// goOnWithout tells that something cannot be had, which is no reason not to guard.
func goOnWithout(j controller.Journal, what, message string, err error) {
	controller.Events{Journal: j}.Unavailable("", what, message+": "+err.Error(), err)
}

// closeJournal gives journald, should it hang, two seconds for what it was not told yet.
func closeJournal(j *systemd.Journal) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	j.Close(ctx)
}

// leaveHugePages executes the program anew if the kernel may give it transparent huge pages: of 2 MiB it would use little, and has some by
// the time that it can say so. The setting survives execve(2) (PR_SET_THP_DISABLE(2const)). If that fails it goes on as it is. It must come before
// signals are taken, which would be lost.
func leaveHugePages() {
	if off, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0); err != nil || off != 0 {
		return
	}
	if exe, err := os.Executable(); err == nil && unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0) == nil {
		_ = unix.Exec(exe, os.Args, os.Environ())
	}
}

// stay locks what is used of the program, which is page cache, often on another group's account, and goes when the host thrashes. What only the
// start needed is let go of first. Go's heap is given back all the same. Without the right to lock we are as slow as everybody else.
func stay() {
	exe, _ := os.Executable()
	unused, _ := haproxy.ReadMaps(procfs, os.Getpid(), func(m haproxy.Mapping) bool { return m.Path == exe && m.Perms[1] == '-' })
	for _, m := range unused {
		unix.Syscall(unix.SYS_MADVISE, uintptr(m.Start), uintptr(m.Len()), unix.MADV_DONTNEED) // it is read again where it is needed
	}
	_ = unix.Mlockall(unix.MCL_CURRENT | unix.MCL_ONFAULT)
}

// configOf is what any controller of this host works with.
func configOf(p *policy.Policy, j controller.Journal) (controller.Config, error) {
	mount, err := cgroup.Mount()
	if err != nil {
		return controller.Config{}, fmt.Errorf("looking for cgroup v2: %w", err)
	}
	return controller.Config{
		Policy: p, Procfs: procfs, Cgroups: mount, Journal: j, Ways: waysToSystemd(mount),
	}, nil
}

// watchdog tells systemd that we are alive as long as no target goes unlooked at.
func watchdog(ctx context.Context, c *controller.Controller) {
	interval, ok := systemd.WatchdogInterval()
	if !ok {
		return
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := c.Healthy(interval); err == nil {
				systemd.Watchdog()
			}
		}
	}
}
