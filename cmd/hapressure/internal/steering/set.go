package steering

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/controller"
	"hapressure/policy"
)

// SetMode sets the mode of a target. "" sets that of all targets, and removes those that
// targets have of their own.
func (f Files) SetMode(target string, m policy.Mode) error {
	return f.locked(func() error {
		modes := map[string]policy.Mode{}
		if target != "" {
			was, err := f.readModes()
			if err != nil {
				return fmt.Errorf("%w: correct the file, or set the mode of all targets", err)
			}
			if was != nil {
				modes = was
			}
		}
		modes[target] = m
		return write(f.Mode, []byte(formatModes(modes)))
	})
}

// PauseFor pauses a target, "" for all, until it is resumed or, unless d is 0, for d.
func (f Files) PauseFor(target string, d time.Duration) error {
	return f.locked(func() error {
		last, err := f.readPauses()
		if err != nil && target != "" {
			return err
		}
		if last == nil {
			last = map[string]controller.Pause{}
		}
		p := controller.Pause{Since: f.Now()}
		if d != 0 {
			p.Until = p.Since + d
		}
		last[target] = p
		return f.writePauses(last)
	})
}

// ErrAllPaused is the error if one target is to be resumed and all are paused.
var ErrAllPaused = errors.New("all targets are paused: 'hapressure resume' without --target " +
	"ends that")

// Resume ends the pause of a target. "" ends all pauses.
func (f Files) Resume(target string) error {
	return f.locked(func() error {
		if target == "" {
			return remove(f.Pause)
		}
		last, err := f.readPauses()
		if err != nil {
			return err
		}
		if _, all := last[""]; all {
			return ErrAllPaused
		}
		delete(last, target)
		if len(last) == 0 {
			return remove(f.Pause)
		}
		return f.writePauses(last)
	})
}

func (f Files) writePauses(all map[string]controller.Pause) error {
	text, err := json.Marshal(pauses{f.Boot, all})
	if err != nil {
		return err
	}
	return write(f.Pause, append(text, '\n'))
}

// write replaces a file. A daemon that reads meanwhile, and one that is started after a
// loss of power, finds the old text or the new one.
func write(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return host.ReplaceFile(name, text, 0o644)
}

func remove(name string) error {
	err := os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// locked does something while no other command changes the files.
func (f Files) locked(do func() error) error {
	if err := os.MkdirAll(filepath.Dir(f.Pause), 0o755); err != nil {
		return err
	}
	// Only root can open the lock, so no other user can hold it.
	lock, err := os.OpenFile(f.Pause+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	return do()
}
