package daemon

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"hapressure/cmd/hapressure/internal/host"
	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/policy"
)

// serving serves a controller that has no target, and returns its socket and its address
// for metrics.
func serving(t *testing.T) (socket, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Socket: filepath.Join(t.TempDir(), "control.sock"), Metrics: l.Addr().String()}
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	c := controller.New(controller.Config{Policy: &policy.Policy{}, Origin: "a test",
		Daemon: &status.Daemon{Version: "test"}})
	metrics := c.Metrics()
	all := control.Handler(c, control.Reload{}, metrics)
	serve(ctx, all, metrics, host.Stderr{Writer: os.Stderr}, o)
	return o.Socket, o.Metrics
}

// A client of the TCP port may read metrics and nothing else.
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
