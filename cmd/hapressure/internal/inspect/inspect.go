// Package inspect finds out the status of this host, with or without a daemon.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/cmd/hapressure/internal/steering"
	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
)

// Inspector finds out the status repeatedly. It keeps one controller, which remembers
// what was proven of workers.
type Inspector struct {
	Socket  string
	Journal controller.Journal // logs what cannot be read

	c      *controller.Controller // nil until the host was first inspected
	policy string                 // digest of the policy that c has
}

// Status asks the daemon. If no daemon runs it inspects the host itself.
func (in *Inspector) Status(ctx context.Context) (status.Status, error) {
	s, err := control.NewClient(in.Socket).Status(ctx)
	if !errors.Is(err, control.ErrNoDaemon) {
		return s, err
	}
	if os.Geteuid() != 0 {
		return s, fmt.Errorf("%w, and an inspection of the host needs root: run this with sudo",
			err)
	}
	p, files, err := policyfiles.Load()
	if err != nil {
		return s, err
	}
	if in.c == nil {
		config, err := host.Config(p, in.Journal)
		if err != nil {
			return s, err
		}
		config.Origin = policyfiles.Origin(files)
		config.Known = controller.KnownWorkers(control.Dir)
		config.Steering = steering.OfHost().Read() // of the daemon that would be started
		in.c = controller.New(config)
	} else if in.policy != controller.Digest(p) {
		in.c.SetPolicy(p, policyfiles.Origin(files))
	}
	in.policy = controller.Digest(p)
	return in.c.Inspect(ctx), nil
}
