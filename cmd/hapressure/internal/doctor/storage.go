package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"hapressure/cmd/hapressure/internal/render"
	"hapressure/controller"
	"hapressure/policy"
)

func checkRecordings(_ context.Context, e *exam) {
	dir := e.recordings.Dir
	if dir == "" {
		e.say(fine, "", "the daemon records nothing")
		return
	}
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	if free := st.Bavail * uint64(st.Bsize); err == nil && (free < 64<<20 ||
		st.Flags&unix.ST_RDONLY != 0) {
		e.say(warning, "free space, or lower --recordings-size",
			"%s is full or read-only: %s are free", dir, render.Size(free))
	} else if err == nil && os.Geteuid() == 0 && unix.Access(dir, unix.W_OK) != nil {
		e.say(warning, "see 'systemctl cat hapressure' for StateDirectory= and ProtectSystem=",
			"%s cannot be written", dir)
	}
	used, err := e.recordings.Usage()
	over := e.recordings.Exceeded(used, len(e.status.Targets))
	e.sayUsage(dir, used, err, over, e.recordings.Bounds())
}

func checkStates(_ context.Context, e *exam) {
	used, err := controller.StateUsage(e.states)
	e.sayUsage(e.states, used, err, controller.StatesExceeded(used, len(e.status.Targets)),
		controller.StateBounds())
}

// sayUsage reports how much the daemon stores in a folder, and the bound.
func (e *exam) sayUsage(dir string, used controller.Usage, err error, over bool, bounds string) {
	about := ""
	if used.AtLeast {
		about = "at least "
	}
	kept := fmt.Sprintf("%s: %s%s in %s of %s", dir, about, render.Size(uint64(used.Bytes)),
		policy.Count(used.Files, "file"), policy.Count(used.Targets, "target"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.say(fine, "", "%s: nothing was written yet", dir)
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		e.say(fine, "", "only root can read %s", dir)
	case err != nil:
		e.say(warning, "", "%s cannot be read: %v", dir, err)
	case over:
		e.say(warning, "see 'journalctl -t hapressure' for errors: the daemon removes the oldest "+
			"every 5 minutes",
			"%s, more than the bound: %s", kept, bounds)
	default:
		e.say(fine, "", "%s; bound: %s", kept, bounds)
	}
}
