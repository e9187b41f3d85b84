package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/policy"
)

// serving serves a controller that has no target, and returns its socket and its address for metrics.
func serving(t *testing.T) (socket, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := options{socket: filepath.Join(t.TempDir(), "control.sock"), metrics: l.Addr().String()}
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	c := controller.New(controller.Config{Policy: &policy.Policy{}, Origin: "a test", Daemon: &status.Daemon{Version: "test"}})
	metrics := c.Metrics()
	serve(ctx, control.Handler(c, nil, metrics), metrics, quiet{}, o)
	return o.socket, o.metrics
}

// Whoever reaches the TCP port may read metrics and nothing else.
func TestNothingButMetricsOverTCP(t *testing.T) {
	_, addr := serving(t)
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/metrics", http.StatusOK},
		{"POST", "/metrics", http.StatusMethodNotAllowed},
		{"GET", "/v1/status", http.StatusNotFound},
		{"POST", "/v1/purge?target=x&pid=1", http.StatusNotFound},
		{"POST", "/v1/reload", http.StatusNotFound},
		{"GET", "/", http.StatusNotFound},
	} {
		req, err := http.NewRequest(tt.method, "http://"+addr+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s: %s, want %d", tt.method, tt.path, resp.Status, tt.status)
		}
	}
}

func TestMetricsCommand(t *testing.T) {
	socket, _ := serving(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "hapressure.prom")
	metrics := func(args ...string) (string, error) {
		var out bytes.Buffer
		root := rootCommand()
		root.SetOut(&out)
		root.SetArgs(append([]string{"metrics"}, args...))
		err := root.Execute()
		return out.String(), err
	}
	out, err := metrics("--socket", socket)
	if err != nil || !strings.Contains(out, "hapressure_build_info{") {
		t.Errorf("%v, %s", err, out)
	}
	if out, err := metrics("--socket", socket, "--output", file); err != nil || out != "" {
		t.Errorf("writing to a file: %v, %q", err, out)
	}
	link := filepath.Join(t.TempDir(), "stdout")
	if err := os.Symlink("/dev/stdout", link); err != nil {
		t.Fatal(err)
	}
	if _, err := metrics("--socket", socket, "--output", link); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("writing to a link: %v", err)
	}
	if to, err := os.Readlink(link); err != nil || to != "/dev/stdout" {
		t.Errorf("the link has become %q, %v", to, err)
	}
	_, err = metrics("--socket", filepath.Join(dir, "none"), "--output", file)
	if !errors.Is(err, control.ErrNoDaemon) || !strings.Contains(err.Error(), "systemctl start hapressure") {
		t.Errorf("without a daemon: %v", err)
	}
	b, err := os.ReadFile(file) // is left as it was
	if err != nil || !strings.Contains(string(b), "hapressure_build_info{") {
		t.Errorf("%v, %s", err, b)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", fi, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("there are %v, %v", files, err)
	}
}
