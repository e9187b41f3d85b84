package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// monitor is a connection to QEMU's monitor, by QMP (docs/interop/qmp-spec.rst in QEMU's
// source). QEMU makes the connection when it starts.
type monitor struct {
	listener net.Listener
	conn     net.Conn // nil before the first command
	in       *json.Decoder
	out      *json.Encoder
}

func listenForMonitor(socket string) (*monitor, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listening for QEMU: %w", err)
	}
	return &monitor{listener: l}, nil
}

func (m *monitor) close() {
	m.listener.Close()
	if m.conn != nil {
		m.conn.Close()
	}
}

// do has QEMU do a command of its human monitor, such as savevm. A command that succeeds
// prints nothing. When ctx ends, the monitor is of no further use.
func (m *monitor) do(ctx context.Context, command string) error {
	printed, err := m.ask(ctx, command)
	if err == nil && printed != "" {
		err = fmt.Errorf("it printed %q", printed)
	}
	if err != nil {
		return fmt.Errorf("QEMU's %s: %w", command, err)
	}
	return nil
}

func (m *monitor) ask(ctx context.Context, command string) (printed string, err error) {
	if m.conn == nil {
		if err := m.accept(ctx); err != nil {
			return "", err
		}
	}
	defer context.AfterFunc(ctx, func() { m.conn.SetDeadline(time.Now()) })()
	err = m.execute("human-monitor-command", map[string]string{"command-line": command}, &printed)
	return printed, err
}

// accept takes QEMU's connection: a greeting, then the choice of capabilities.
func (m *monitor) accept(ctx context.Context) (err error) {
	defer context.AfterFunc(ctx, func() { m.listener.Close() })()
	if m.conn, err = m.listener.Accept(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { m.conn.SetDeadline(time.Now()) })()
	m.in, m.out = json.NewDecoder(m.conn), json.NewEncoder(m.conn)
	if err := m.in.Decode(&struct{}{}); err != nil {
		return fmt.Errorf("reading the greeting: %w", err)
	}
	return m.execute("qmp_capabilities", nil, &struct{}{})
}

// execute sends one command and decodes what it returns. Events may come between.
func (m *monitor) execute(command string, arguments map[string]string, result any) error {
	if err := m.out.Encode(struct {
		Execute   string            `json:"execute"`
		Arguments map[string]string `json:"arguments,omitempty"`
	}{command, arguments}); err != nil {
		return err
	}
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		switch err := m.in.Decode(&answer); {
		case err != nil:
			return err
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", command, answer.Error.Desc)
		case answer.Return != nil:
			return json.Unmarshal(answer.Return, result)
		}
	}
}
