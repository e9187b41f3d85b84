package steering

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"hapressure/controller"
)

// MaxPause bounds a pause that ends by itself. For a longer time there is a mode.
const MaxPause = 30 * 24 * time.Hour

// pauses is the content of the pause file.
type pauses struct {
	Boot   string                      `json:"boot"` // of the machine to which the times belong
	Pauses map[string]controller.Pause `json:"pauses"`
}

// readPauses reads the pauses that last.
func (f Files) readPauses() (map[string]controller.Pause, error) {
	text, err := read(f.Pause)
	if text == nil || err != nil {
		return nil, err
	}
	last, err := f.parsePauses(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; 'hapressure resume' removes it", f.Pause, err)
	}
	return last, nil
}

func (f Files) parsePauses(text []byte) (map[string]controller.Pause, error) {
	var all pauses
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&all); err != nil {
		return nil, fmt.Errorf("it has no pauses: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("it has more than pauses")
	}
	if all.Boot != f.Boot { // of an earlier start of the machine
		return nil, nil
	}
	now := f.Now()
	for target, p := range all.Pauses {
		if target != "" {
			if err := CheckTarget(target); err != nil {
				return nil, err
			}
		}
		if p.Since < 0 || p.Since > now || p.Until != 0 && (p.Until < p.Since ||
			p.Until-p.Since > MaxPause) {
			return nil, fmt.Errorf("a pause from %v to %v after the start of this machine is "+
				"not possible", p.Since, p.Until)
		}
		if p.Over(now) {
			delete(all.Pauses, target)
		}
	}
	return all.Pauses, nil
}
