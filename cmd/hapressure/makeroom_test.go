package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hapressure/controller/status"
	"hapressure/policy"
)

// daemonWithRoom is a daemon that answers each target's request for room. It returns its
// socket.
func daemonWithRoom(t *testing.T, answers map[string]status.Room) string {
	socket := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		room, found := answers[q.Get("target")]
		if !found || r.Method != http.MethodPost || q.Get("reloads") != "1.5" ||
			q.Get("timeout") != "3s" {
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(`{"error": "` + r.Method + " " + r.URL.String() + `"}`))
			return
		}
		json.NewEncoder(w).Encode(room)
	}))
	return socket
}

func TestMakeRoomCommand(t *testing.T) {
	socket := daemonWithRoom(t, map[string]status.Room{
		"haproxy.service": {Target: "haproxy.service", Result: status.RoomFound, Waited: 3,
			ReloadRoom: policy.Reading{Value: 2.5}, Freed: 100 << 20,
			Limit: status.Limit{Name: "/lb memory.max"}},
		"/lb/one":     {Target: "/lb/one", Result: status.NoRoom, Reason: "50 MiB are missing"},
		"new.service": {Result: status.RoomUnknown, Reason: "no worker was found"},
	})
	const noDaemon = "it is not known whether a reload fits: hapressure is not running"
	for _, tt := range []struct {
		args         []string
		code         int
		stdout, text string
	}{
		{[]string{"--unit", "haproxy"}, 0,
			"haproxy.service: room for 2.5 reloads under /lb memory.max, after 3s, in which " +
				"hapressure freed 100 MiB\n", ""},
		{[]string{"--unit", "haproxy.service", "--json"}, 0, `"result": "room"`, ""},
		{[]string{"--cgroup", "lb/one"}, exitNoRoom, "",
			"no room for a reload of /lb/one: 50 MiB are missing"},
		{[]string{"--cgroup", "/lb/one", "--json"}, exitNoRoom, `"result": "no-room"`, "no room"},
		{[]string{"--unit", "new"}, 0, "",
			"warning: it is not known whether a reload fits: no worker was found"},
		{[]string{"--unit", "other"}, 1, "", "the daemon answered: POST /v1/make-room"},
		{[]string{"--socket", "none"}, 0, "", noDaemon},
		{[]string{"--socket", "none", "--json"}, 0, `"result": "no-daemon"`, noDaemon},
		{[]string{"--unit", "a", "--cgroup", "/a"}, 2, "", "give only one of --unit and --cgroup"},
		{[]string{"--timeout", "2m"}, 2, "", "a timeout of 2m0s: write a time from 100ms to 50s"},
		{[]string{"--reloads", "0"}, 2, "", "0 reloads: write a number above 0"},
		{[]string{"--unit", ""}, 2, "", "--unit is empty"},
	} {
		args := append([]string{"make-room", "--socket", socket, "--reloads", "1.5",
			"--timeout", "3s"}, tt.args...)
		cmd := exec.Command(program(t), args...)
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != tt.code ||
			!strings.Contains(stdout.String(), tt.stdout) || tt.stdout == "" && stdout.Len() > 0 ||
			!strings.Contains(stderr.String(), tt.text) || tt.text == "" && stderr.Len() > 0 {
			t.Errorf("%q: exit code %d, want %d\n%s%s", tt.args, code, tt.code, &stdout, &stderr)
		}
	}
}
