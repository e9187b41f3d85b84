package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hapressure/controller"
	"hapressure/controller/control"
	"hapressure/controller/status"
	"hapressure/policy"
)

func TestMetricsCommand(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	c := controller.New(controller.Config{Policy: &policy.Policy{},
		Daemon: &status.Daemon{Version: "test"}})
	go control.Serve(t.Context(), l, control.Handler(c, control.Reload{}, c.Metrics()))
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
	if _, err := metrics("--socket", socket, "--output", link); err == nil ||
		!strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("writing to a link: %v", err)
	}
	if to, err := os.Readlink(link); err != nil || to != "/dev/stdout" {
		t.Errorf("the link has become %q, %v", to, err)
	}
	_, err = metrics("--socket", filepath.Join(dir, "none"), "--output", file)
	if !errors.Is(err, control.ErrNoDaemon) {
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
