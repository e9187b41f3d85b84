package controller

import (
	"context"
	"fmt"

	"hapressure/controller/status"
	"hapressure/systemd"
)

// Units is what the controller needs of systemd: *systemd.Bus and *systemd.Tree. Methods
// that a way to systemd does not have return [errors.ErrUnsupported].
type Units interface {
	ControlGroup(ctx context.Context, unit string) (string, error)
	Match(ctx context.Context, glob string) ([]string, error)
	Changes(ctx context.Context) (<-chan string, error) // nil if none are reported
	OwnName(ctx context.Context, name string) error
	Emit(path, signal string, values ...any) error
	RunTransient(context.Context, systemd.Transient) error
	Close()
}

// A Way is one of several ways to find units.
type Way struct {
	Name    string // as in "D-Bus"
	Lacks   string // what is not possible by it; "" = nothing
	Connect func(context.Context) (Units, error)
}

// A Link is a connection by one of several ways.
type Link struct {
	Units
	Way
	Failed  error         // of the ways before it; nil for the first
	Changed <-chan string // names of units that have changed; closed when the connection is lost
}

// Connect connects by the first of the ways by which systemd answers. The link ends with
// ctx.
func Connect(ctx context.Context, ways []Way) (*Link, error) {
	var failed error
	for _, w := range ways {
		link, err := w.link(ctx)
		if err == nil {
			link.Failed = failed
			return link, nil
		}
		if failed != nil {
			err = fmt.Errorf("%w; %w", failed, err) // one line, for the journal
		}
		failed = err
	}
	return nil, failed
}

// link connects. An answer of the bus is not enough: at boot the bus answers before
// systemd does.
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

func (l *Link) status() status.Systemd {
	s := status.Systemd{By: l.Name, Lacks: l.Lacks}
	if l.Failed != nil {
		s.Why = l.Failed.Error()
	}
	return s
}
