package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/controller"
	"hapressure/controller/control"
)

// serve answers on the control socket, and with metrics only on the sockets for
// Prometheus, until ctx ends. A control socket of systemd has precedence over that of the
// options. A socket that fails is logged, and the daemon guards without it.
func serve(ctx context.Context, all, metrics http.Handler, j controller.Journal, o Options) {
	report := func(what string, err error) {
		if err != nil {
			host.ReportMissing(j, what, "Continuing without the "+what, err)
		}
	}
	given, err := activation.ListenersWithNames()
	report("sockets of systemd", err)
	add := func(name string, listen func(string) (net.Listener, error), addr string) {
		l, err := listen(addr)
		report(name+" socket", err)
		if err == nil {
			given[name] = append(given[name], l)
		}
	}
	if len(given["control"]) == 0 && o.Socket != "" {
		add("control", listenUnix, o.Socket)
	}
	if o.Metrics != "" {
		add("metrics", func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) },
			o.Metrics)
	}
	only := http.NewServeMux()
	only.Handle("GET /metrics", metrics)
	for name, h := range map[string]http.Handler{"control": all, "metrics": only} {
		for _, l := range given[name] {
			go func() { report(name+" socket", control.Serve(ctx, l, h)) }()
		}
	}
}

// listenUnix listens at a path. It replaces the socket of a daemon that was killed.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStaleSocket(path); err != nil {
			return nil, err
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	// If there is no such group, or the socket cannot be given to it, only root has
	// access.
	if g, err := user.LookupGroup(control.Group); err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil && os.Chown(path, -1, gid) == nil {
			return l, os.Chmod(path, 0o660)
		}
	}
	return l, os.Chmod(path, 0o600)
}

// removeStaleSocket removes a socket at which no process listens. Anything else at path
// stays, and the error describes it. unlink(2) removes no directory and follows no link.
func removeStaleSocket(path string) error {
	const remedy = "give another path to --control, or remove it"
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket: %s", path, remedy)
	}
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("another process listens at %s, as another hapressure would", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("a process may use the socket %s: %w: %s", path, err, remedy)
	}
	if err := syscall.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}
