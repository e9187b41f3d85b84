package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/spf13/cobra"

	"hapressure/controller/control"
	"hapressure/controller/status"
)

// topKeys is a block of code to Markdown, of which the man page is made.
const topKeys = `    Tab, left, right   another target
    up, down           choose a worker
    g c n a            sort by generation, cache, number of connections, age
    d                  dry run: what purging the chosen worker would free
    p                  purge its TLS session cache, after a question
    ?                  show the keys
    q                  quit`

func topCommand() *cobra.Command {
	var socket string
	var ascii bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch memory, pressure, tiers and workers live, and purge by hand",
		Long: `Show one target at a time, once a second: the last ten minutes of its memory under the limit, of its pressure (some and full, averages
over 10 s) and of the tier it was in, its workers, and the last actions.

` + topKeys + `

The daemon is asked over its control socket, also to purge. Where it does not run, the command looks itself, needs root, and purges as
'hapressure purge' does; there is no tier then, and no history but what it has seen itself. Colours are left out where NO_COLOR is set.

Exit codes: 0 it was quit, 1 failed, 2 wrong usage.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			s, err := tcell.NewScreen()
			if err == nil {
				err = s.Init()
			}
			if err != nil {
				return fmt.Errorf("preparing the terminal; 'hapressure status' needs none: %w", err)
			}
			defer s.Fini()
			var notes notes
			in := inspector{socket: socket, journal: &notes}
			m := top{
				ascii: ascii || s.CharacterSet() != "UTF-8",
				ask: func(ctx context.Context) (s status.Status, note string, err error) {
					s, err = in.status(ctx)
					return s, strings.ReplaceAll(strings.TrimSpace(notes.take(0)), "\n", "; "), err
				},
				purge: func(ctx context.Context, target string, pid int, dryRun bool) (status.Purge, error) {
					return purgeOne(ctx, control.NewClient(socket), target, pid, dryRun)
				},
			}
			m.run(ctx, s)
			return nil
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().BoolVar(&ascii, "ascii", false, "draw with ASCII characters only, as where the locale has no UTF-8")
	return cmd
}

// purgeOne has the daemon purge a worker, or does it where there is none.
func purgeOne(ctx context.Context, daemon *control.Client, target string, pid int, dryRun bool) (status.Purge, error) {
	done, err := daemon.Purge(ctx, target, pid, dryRun)
	if !errors.Is(err, control.ErrNoDaemon) {
		return done, err
	}
	rows, err := purgeHere(ctx, which{pid: pid}, dryRun, func(int, int) {})
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("%d is no worker", pid)
	}
	if err != nil {
		return status.Purge{}, err
	}
	return rows[0], nil
}

// askTime bounds one question: the daemon itself takes no longer than 10 s for its answer.
const askTime = 15 * time.Second

type answer struct {
	status status.Status
	note   string // what the look could not read
	err    error
}

// run shows the model until q or the end of ctx. Whatever may take long runs beside: keys are never held up.
func (m *top) run(ctx context.Context, s tcell.Screen) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, answers, notes := make(chan tcell.Event), make(chan answer), make(chan string, 1)
	go s.ChannelEvents(events, ctx.Done())
	go m.poll(ctx, answers)
	tick := time.NewTicker(time.Second) // what is shown grows old
	defer tick.Stop()
	for {
		m.draw(s, time.Now())
		s.Show()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case a := <-answers:
			m.learn(a, time.Now())
		case m.note = <-notes:
			m.busy = false
		case e := <-events:
			switch e := e.(type) {
			case nil: // the terminal has gone
				return
			case *tcell.EventResize:
				s.Sync()
			case *tcell.EventKey:
				do := m.key(e)
				if m.quit {
					return
				}
				if do != nil {
					go func() { notes <- do(ctx) }()
				}
			}
		}
	}
}

func (m *top) poll(ctx context.Context, answers chan<- answer) {
	for {
		asking, cancel := context.WithTimeout(ctx, askTime)
		s, note, err := m.ask(asking)
		cancel()
		select {
		case <-ctx.Done():
			return
		case answers <- answer{s, note, err}:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}
