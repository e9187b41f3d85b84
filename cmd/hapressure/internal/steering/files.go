// Package steering keeps what an operator has set beside the policy in two files: the
// mode, which is for good, and pauses, which end with the next start of the machine.
//
// The commands write the files, which needs root, and the daemon reads them. So a mode
// can be set before the daemon is started or installed, and nothing is lost if the daemon
// is killed or does not answer.
package steering

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/cmd/hapressure/internal/policyfiles"
	"hapressure/controller"
)

// The files of this host.
const (
	ModeFile  = "/etc/hapressure/mode"
	PauseFile = "/run/hapressure/pause"
)

// limit bounds each file, in bytes. A line of a target has some 50.
const limit = 64 << 10

// Files are the two files, and the start of the machine by which pauses are known. Now is
// the time since then.
type Files struct {
	Mode, Pause string
	Boot        string
	Now         func() time.Duration
}

// OfHost returns the files of this host.
func OfHost() Files {
	boot, _ := os.ReadFile(host.Procfs + "/sys/kernel/random/boot_id")
	return Files{ModeFile, PauseFile, strings.TrimSpace(string(boot)), controller.PauseClock}
}

// read returns the text of a file that only root can write, nil if there is none.
func read(name string) ([]byte, error) {
	f, err := policyfiles.OpenTrusted(name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if text == nil {
		text = []byte{}
	}
	return text, err
}
