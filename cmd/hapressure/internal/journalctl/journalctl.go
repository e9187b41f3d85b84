// Package journalctl reads hapressure's entries from the journal.
package journalctl

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hapressure/controller"
	"hapressure/systemd"
)

// ErrTime is the error if journalctl cannot parse a time.
var ErrTime = errors.New("it is no time that journalctl knows: write it as 2026-01-31 12:00, " +
	"today, yesterday or -1h")

// Read calls show with each entry that journalctl finds, until it exits or ctx ends. What
// journalctl reports goes into the error or, if it succeeds, to stderr. libsystemd, which
// reads the files of the journal, would need cgo, and the program is static.
func Read(ctx context.Context, args []string, stderr io.Writer,
	show func(time.Time, systemd.Entry) error) error {
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	journalctl := exec.CommandContext(own, "journalctl", args...)
	var said bytes.Buffer
	journalctl.Stderr = &said
	journalctl.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must not make it fail
	out, err := journalctl.StdoutPipe()
	if err != nil {
		return err
	}
	if err := journalctl.Start(); errors.Is(err, exec.ErrNotFound) {
		return errors.New("journalctl is not installed: without systemd's journal hapressure prints its entries to standard error")
	} else if err != nil {
		return fmt.Errorf("starting journalctl: %w", err)
	}
	for lines := bufio.NewReader(out); err == nil; {
		var line []byte
		// otherwise the end, or "-- No entries --"
		if line, err = lines.ReadBytes('\n'); bytes.HasPrefix(line, []byte("{")) {
			var at time.Time
			var e systemd.Entry
			if at, e, err = systemd.ParseEntry(line, controller.FieldPrefix); err == nil {
				err = show(at, e)
			}
		}
	}
	if err != io.EOF {
		cancel()
	}
	ended := journalctl.Wait()
	switch {
	case ctx.Err() != nil:
		return nil
	case err != io.EOF:
		return err
	case ended != nil:
		return failure(cmp.Or(strings.TrimSpace(said.String()), ended.Error()))
	}
	_, err = said.WriteTo(stderr)
	return err
}

// failure returns the error of a journalctl that failed with a text.
func failure(text string) error {
	if at, ok := strings.CutPrefix(text, "Failed to parse timestamp: "); ok {
		return fmt.Errorf("%q: %w", at, ErrTime)
	}
	if strings.Contains(text, "permission") {
		text += " root and members of the group systemd-journal may read the journal"
	}
	return errors.New("journalctl: " + text)
}

// numbers matches the fields that are numbers in JSON.
var numbers = regexp.MustCompile(`^(.*_(pid|bytes|usec)|generation|sessions|left_out)$`)

// JSON returns an entry as an object with the fields that docs/logging.md lists.
func JSON(at time.Time, e systemd.Entry) map[string]any {
	shape := map[string]any{}
	for name, value := range e.Fields {
		name = strings.ToLower(strings.TrimPrefix(name, controller.FieldPrefix))
		shape[name] = value
		if n, err := strconv.ParseUint(value, 10, 64); err == nil && numbers.MatchString(name) {
			shape[name] = n
		}
	}
	shape["time"], shape["message"] = at.Format(time.RFC3339Nano), e.Message
	shape["kind"] = controller.Kinds()[e.MessageID]
	return shape
}
