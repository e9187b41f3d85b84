package daemon

import (
	"fmt"
	"net"
	"strconv"
)

const (
	// RecordingsMiB is the default of --recordings-size.
	RecordingsMiB = 16
	// maxRecordings is its maximum, in MiB: 1 TiB.
	maxRecordings = 1 << 20
)

// Options are the flags of run.
type Options struct {
	Version       string // of this program
	Policy        []string
	DryRun        bool
	Recordings    string
	RecordingsMiB int
	Socket        string
	Metrics       string
	LogFormat     string // one of LogFormats; "" = the one that suits standard error
}

// Check returns a mistake in the flags.
func (o Options) Check() error {
	if o.RecordingsMiB < 1 || o.RecordingsMiB > maxRecordings {
		return fmt.Errorf("--recordings-size %d: it must be a number of MiB from 1 to %d; to keep no recordings, use --recordings ''",
			o.RecordingsMiB, maxRecordings)
	}
	if o.Metrics == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(o.Metrics)
	if n, perr := strconv.ParseUint(port, 10, 16); err == nil && (perr != nil || n == 0) {
		err = fmt.Errorf("the port %q is not a number from 1 to 65535", port)
	}
	if err != nil {
		return fmt.Errorf("--metrics %q: it must be an address and a port, such as 127.0.0.1:19787: %w", o.Metrics, err)
	}
	return nil
}
