package controller

import (
	"context"
	"errors"
	"slices"
	"time"
)

// link connects to systemd and reports a change of the way. It returns nil if the policy
// names no unit.
func (c *Controller) link(ctx context.Context) (*Link, error) {
	if len(c.Ways) == 0 || !c.namesUnits() {
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
		before = c.Ways[0].Name // the usual way, which is not reported
	}
	if link.Name != before {
		c.events.linkChanged(before, link, c.pauses.lookup)
	}
	if c.DryRun {
		return link, nil
	}
	if err := link.OwnName(ctx, busName); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		c.events.SensorMissing("", "D-Bus name", err)
	}
	return link, nil
}

// await returns a channel that is closed when systemd answers by a better way than that
// of the link. It returns nil if there is no better way.
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
			case <-time.After(c.pauses.lookup):
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
