package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/systemd"
)

// Units is what the controller asks of systemd; *systemd.Bus and *systemd.Tree answer. What a way to
// systemd does not have is [errors.ErrUnsupported].
type Units interface {
	ControlGroup(ctx context.Context, unit string) (string, error)
	Match(ctx context.Context, glob string) ([]string, error)
	Changes(ctx context.Context) (<-chan string, error) // nil if none are reported
	OwnName(ctx context.Context, name string) error
	Emit(path, signal string, values ...any) error
	RunTransient(context.Context, systemd.Transient) error
	Close()
}

// A Way is one of several to find units.
type Way struct {
	Name    string // as in "D-Bus"
	Lacks   string // what cannot be had by it; "" = nothing
	Connect func(context.Context) (Units, error)
}

// A Link is a connection by one of several ways.
type Link struct {
	Units
	Way
	Failed  error         // of the ways before it; nil for the first
	Changed <-chan string // names of units that have changed; closed when the connection is lost
}

// Connect takes the first of the ways by which systemd answers. The link ends with ctx.
func Connect(ctx context.Context, ways []Way) (*Link, error) {
	var failed error
	for _, w := range ways {
		link, err := w.link(ctx)
		if err == nil {
			link.Failed = failed
			return link, nil
		}
		if failed != nil {
			err = fmt.Errorf("%w; %w", failed, err) // one line: it goes into the journal
		}
		failed = err
	}
	return nil, failed
}

// link connects. That the bus answers is not enough: at boot it does so before systemd is there.
func (w Way) link(ctx context.Context) (*Link, error) {
	units, err := w.Connect(ctx)
	if err != nil {
		return nil, err
	}
	changed, err := units.Changes(ctx)
	if err != nil {
		units.Close()
		return nil, err
	}
	return &Link{Units: units, Way: w, Changed: changed}, nil
}

// link connects to systemd, and reports a change of the way. It is nil if the policy needs no systemd.
func (c *Controller) link(ctx context.Context) (*Link, error) {
	if len(c.Ways) == 0 || !c.names() {
		return nil, nil
	}
	link, err := Connect(ctx, c.Ways)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	before := c.systemd.By
	c.systemd = link.status()
	c.mu.Unlock()
	if before == "" {
		before = c.Ways[0].Name // which needs no report
	}
	if link.Name != before {
		c.events.linkChanged(before, link)
	}
	if c.DryRun {
		return link, nil
	}
	if err := link.OwnName(ctx, busName); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		c.events.SensorMissing("", "D-Bus name", err)
	}
	return link, nil
}

func (l *Link) status() status.Systemd {
	s := status.Systemd{By: l.Name, Lacks: l.Lacks}
	if l.Failed != nil {
		s.Why = l.Failed.Error()
	}
	return s
}

// names reports whether the policy names units: otherwise systemd is not asked, which a container has none of.
func (c *Controller) names() bool {
	return slices.ContainsFunc(c.policy().Targets, func(t policy.Target) bool { return t.Unit != "" })
}

// await returns a channel that is closed when systemd answers by a way before that of the link: nil if
// there is none before it.
func (c *Controller) await(ctx context.Context, link *Link) <-chan struct{} {
	better := c.Ways[:slices.IndexFunc(c.Ways, func(w Way) bool { return w.Name == link.Name })]
	if len(better) == 0 {
		return nil
	}
	answers := make(chan struct{})
	c.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookEvery):
			}
			if link, err := Connect(ctx, better); err == nil {
				link.Close()
				close(answers)
				return
			}
		}
	})
	return answers
}
