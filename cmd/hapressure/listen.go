package main

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

	"hapressure/controller"
	"hapressure/controller/control"
)

// serve answers on the control socket, and with metrics alone where Prometheus is to scrape, until ctx ends. A control socket that systemd
// gives us comes before one of our own. What cannot be listened on is told, and is no reason not to guard.
func serve(ctx context.Context, all, metrics http.Handler, j controller.Journal, o options) {
	tell := func(what string, err error) {
		if err != nil {
			goOnWithout(j, what, "Going on without the "+what, err)
		}
	}
	given, err := activation.ListenersWithNames()
	tell("sockets of systemd", err)
	add := func(name string, listen func(string) (net.Listener, error), addr string) {
		l, err := listen(addr)
		tell(name+" socket", err)
		if err == nil {
			given[name] = append(given[name], l)
		}
	}
	if len(given["control"]) == 0 && o.socket != "" {
		add("control", listenUnix, o.socket)
	}
	if o.metrics != "" {
		add("metrics", func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }, o.metrics)
	}
	only := http.NewServeMux()
	only.Handle("GET /metrics", metrics)
	for name, h := range map[string]http.Handler{"control": all, "metrics": only} {
		for _, l := range given[name] {
			go func() { tell(name+" socket", control.Serve(ctx, l, h)) }()
		}
	}
}

// listenUnix listens at a path where a daemon that was killed may have left its socket.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if c, derr := net.Dial("unix", path); derr == nil {
			c.Close()
			return nil, fmt.Errorf("%w: another hapressure runs", err)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	// Where there is no such group, or we may not give it the socket, root is the only one.
	if g, err := user.LookupGroup(control.Group); err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil && os.Chown(path, -1, gid) == nil {
			return l, os.Chmod(path, 0o660)
		}
	}
	return l, os.Chmod(path, 0o600)
}
