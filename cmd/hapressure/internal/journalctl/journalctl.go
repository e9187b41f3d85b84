package journalctl

import (
	"bufio"
	"bytes"
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

// Read shows what journalctl finds, until that or ctx ends. The library that reads the journal's files, libsystemd, would need
// cgo, and the program is static.
func Read(ctx context.Context, args []string, stderr io.Writer, show func(time.Time, systemd.Entry) error) error {
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	journalctl := exec.CommandContext(own, "journalctl", args...)
	journalctl.Stderr = stderr
	journalctl.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us: it is no failure
	out, err := journalctl.StdoutPipe()
	if err != nil {
		return err
	}
	if err := journalctl.Start(); errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no journalctl here: without systemd's journal hapressure writes its entries to its standard error")
	} else if err != nil {
		return fmt.Errorf("starting journalctl: %w", err)
	}
	for lines := bufio.NewReader(out); err == nil; {
		var line []byte
		if line, err = lines.ReadBytes('\n'); bytes.HasPrefix(line, []byte("{")) { // else it is the end, or that there is nothing
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
		return fmt.Errorf("journalctl: %w; root and members of the group systemd-journal may read the journal", ended)
	}
	return nil
}

// numbers are the fields that are numbers in JSON.
var numbers = regexp.MustCompile(`^(.*_(pid|bytes|usec)|generation|sessions|left_out)$`)

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
