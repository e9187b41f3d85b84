package daemon

import (
	"os"
	"path/filepath"
	"strings"

	"hapressure/controller"
	"hapressure/controller/status"
)

// StateFile returns a path in the service's StateDirectory=, "" if there is none;
// runtimeFile one in its RuntimeDirectory=.
func StateFile(name string) string { return fileOf("STATE_DIRECTORY", name) }

func runtimeFile(name string) string { return fileOf("RUNTIME_DIRECTORY", name) }

func fileOf(variable, name string) string {
	dir, _, _ := strings.Cut(os.Getenv(variable), ":")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// keepRecordings has a controller record each target in a folder of its own, of mib MiB
// at most.
func keepRecordings(c *controller.Config, dir string, mib int) {
	if dir == "" || mib <= 0 {
		return
	}
	c.Recordings = controller.Recordings{Dir: dir, PerTarget: int64(mib) << 20}
	c.Record, c.RecordSize = c.Recordings.Open, c.Recordings.FileSize()
	if c.Daemon != nil {
		c.Daemon.Recordings = &status.Recordings{Dir: dir, BytesPerTarget: c.Recordings.PerTarget}
	}
}
