package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// monitor has QEMU do a command of its human monitor, such as savevm. A command
// that succeeds prints nothing.
func (m *machine) monitor(ctx context.Context, command string) error {
	printed, err := askQEMU(ctx, m.monitorSocket(), command)
	if err == nil && printed != "" {
		err = fmt.Errorf("it printed %q", printed)
	}
	if err != nil {
		return fmt.Errorf("QEMU's %s: %w", command, err)
	}
	return nil
}

// askQEMU talks QMP (docs/interop/qmp-spec.rst in QEMU's source): a greeting,
// the choice of capabilities, then the command; events may come between.
func askQEMU(ctx context.Context, socket, command string) (string, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	if err := in.Decode(&struct{}{}); err != nil {
		return "", fmt.Errorf("reading the greeting: %w", err)
	}
	type request struct {
		Execute   string            `json:"execute"`
		Arguments map[string]string `json:"arguments,omitempty"`
	}
	var printed string
	for _, r := range []request{
		{Execute: "qmp_capabilities"},
		{"human-monitor-command", map[string]string{"command-line": command}},
	} {
		if err := out.Encode(r); err != nil {
			return "", err
		}
		var result json.RawMessage
		for result == nil {
			var answer struct {
				Return json.RawMessage
				Error  *struct{ Desc string }
			}
			if err := in.Decode(&answer); err != nil {
				return "", err
			}
			if answer.Error != nil {
				return "", fmt.Errorf("%s: %s", r.Execute, answer.Error.Desc)
			}
			result = answer.Return
		}
		if r.Arguments != nil {
			if err := json.Unmarshal(result, &printed); err != nil {
				return "", err
			}
		}
	}
	return printed, nil
}
