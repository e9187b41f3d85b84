package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hapressure/controller"
	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/systemd"
	"hapressure/tests/haproxytest"
)

// tiersNotEntered is a policy of which no tier is entered: 80% are used.
const tiersNotEntered = `version: 1
targets: [cgroup: /lb]
tiers:
  - name: purge
    enter: {usage: {above: 99%}}
    leave: {usage: {below: 90%}}
    actions: [purge-ssl-cache: {}]
  - name: shorten
    enter: {usage: {above: 99%}, for: 10s}
    leave: {usage: {below: 90%}}
    actions: [hard-stop-after: {limit: 10h}, terminate-oldest: {}]
`

// plenty is more than fits, but is not limited by what a worker holds.
const plenty = 900

func (j *journal) of(k controller.Kind) (found []systemd.Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.entries {
		if e.MessageID == k.ID() {
			found = append(found, e)
		}
	}
	return found
}

// acted returns an error until an action was done.
func (j *journal) acted() error {
	if len(j.of(controller.Action)) == 0 {
		return errors.New("no action")
	}
	return nil
}

// ask requests room for a minute. The channel gets the answer.
func ask(t *testing.T, client *Client, reloads float64) <-chan status.Room {
	answered := make(chan status.Room, 1)
	go func() {
		room, err := client.MakeRoom(t.Context(), controller.RoomRequest{
			Reloads: reloads, Timeout: maxRoomTimeout,
		})
		if err != nil {
			t.Error(err)
		}
		answered <- room
	}()
	return answered
}

// known waits until the workers of the target are known, and returns the stopping one.
func known(t *testing.T, client *Client) (old int) {
	t.Helper()
	haproxytest.Eventually(t, "a stopping and a current worker", func() error {
		s, err := client.Status(t.Context())
		if err != nil {
			return err
		}
		if len(s.Targets) != 1 || len(s.Targets[0].Masters) != 1 {
			return fmt.Errorf("status %+v", s)
		}
		workers := s.Targets[0].Masters[0].Workers
		if len(workers) != 2 || workers[0].State != "stopping" || workers[1].State != "current" {
			return fmt.Errorf("workers %+v", workers)
		}
		old = workers[0].PID
		return nil
	})
	return old
}

func TestMakeRoom(t *testing.T) {
	h, client, j, tree := daemonIn(t, tiersNotEntered)
	old := known(t, client)
	room, err := client.MakeRoom(t.Context(), controller.RoomRequest{
		Target: group, Reloads: 2, Timeout: maxRoomTimeout,
	})
	if err != nil || room.Result != status.RoomFound || room.Target != group ||
		room.Footprint < 10e6 || room.ReloadRoom.Value < 2 || room.Limit.Name != "/lb memory.max" || room.Freed != 0 {
		t.Fatalf("there is room, and the answer is %+v, %v", room, err)
	}
	if n := len(j.of(controller.Action)); n > 0 {
		t.Errorf("%d actions, although there was room", n)
	}

	// The cache is purged although no tier is entered. Then memory is free.
	answered := ask(t, client, float64(room.Limit.Bytes)/float64(room.Footprint)*.9)
	haproxytest.Eventually(t, "the purge", j.acted)
	tree.Write(group, "memory.current", "1000000\n")
	room = <-answered
	if err != nil || room.Result != status.RoomFound || room.Freed < 10e6 || room.Missing != 0 {
		t.Errorf("after a purge: %+v, %v", room, err)
	}
	if a := j.of(controller.Action); len(a) != 1 || a[0].Fields["HAPRESSURE_ACTION"] !=
		policy.PurgeSSLCache || !strings.Contains(a[0].Message, "make-room waits for room for") {
		t.Errorf("actions %+v", a)
	}

	// No policy permits to cut connections, so there is no more to do.
	room, err = client.MakeRoom(t.Context(), controller.RoomRequest{
		Reloads: plenty, Timeout: time.Second,
	})
	if err != nil || room.Result != status.NoRoom || room.Missing < 1e9 ||
		!strings.Contains(room.Reason, "its workers hold 1 stopping ") {
		t.Errorf("without room: %+v, %v", room, err)
	}
	if !slices.Contains(h.Pids(), old) || len(j.of(controller.Action)) != 1 {
		t.Errorf("worker %d was ended to make room", old)
	}
	entries := j.of(controller.MakeRoom)
	if len(entries) != 3 {
		t.Fatalf("%d journal entries for 3 requests", len(entries))
	}
	for i, result := range []string{status.RoomFound, status.RoomFound, status.NoRoom} {
		if e := entries[i]; e.Fields["HAPRESSURE_RESULT"] != result ||
			!strings.Contains(e.Message, "asked for by user ") {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
}

// Draining is done only because the policy permits it.
func TestMakeRoomByDraining(t *testing.T) {
	h, client, j, _ := daemonIn(t, tiersNotEntered+"make-room: {drain: true}\n")
	old := known(t, client)
	room, err := client.MakeRoom(t.Context(), controller.RoomRequest{
		Reloads: plenty, Timeout: maxRoomTimeout,
	})
	// It ends before its timeout: no worker is left that could free memory.
	if err != nil || room.Result != status.NoRoom || room.Waited > 45 {
		t.Errorf("got %+v, %v", room, err)
	}
	if slices.Contains(h.Pids(), old) {
		t.Errorf("worker %d was not drained", old)
	}
	var kinds []string
	for _, e := range j.of(controller.Action) {
		kinds = append(kinds, e.Fields["HAPRESSURE_ACTION"])
	}
	if !slices.Equal(kinds, []string{policy.PurgeSSLCache, policy.HardStopAfter}) {
		t.Errorf("actions %v", kinds)
	}
}

// Two clients wait together, and each for its own number of reloads. The status shows
// them. A client that goes away withdraws its request.
func TestMakeRoomTogether(t *testing.T) {
	_, client, j, tree := daemonIn(t, tiersNotEntered)
	known(t, client)
	tree.Write(group, "memory.current", "950000000\n") // room for 5 reloads at most
	// waits returns an error unless n clients wait.
	waits := func(n int) func() error {
		return func() error {
			s, err := client.Status(t.Context())
			if err == nil && len(s.Targets[0].RoomRequests) != n {
				err = fmt.Errorf("requests %+v", s.Targets[0].RoomRequests)
			}
			return err
		}
	}
	gone, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := client.MakeRoom(gone, controller.RoomRequest{
			Reloads: plenty, Timeout: maxRoomTimeout,
		})
		left <- err
	}()
	haproxytest.Eventually(t, "a request", waits(1))
	answered := ask(t, client, 12)
	haproxytest.Eventually(t, "both requests", waits(2))
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the client that left got %v", err)
	}
	haproxytest.Eventually(t, "the other request", waits(1))
	if e := j.of(controller.MakeRoom); len(e) != 1 ||
		e[0].Fields["HAPRESSURE_RESULT"] != status.RoomCanceled {
		t.Errorf("entries %+v", e)
	}
	haproxytest.Eventually(t, "the purge", j.acted)
	tree.Write(group, "memory.current", "1000000\n")
	if room := <-answered; room.Result != status.RoomFound {
		t.Errorf("got %+v", room)
	}
	haproxytest.Eventually(t, "no request", waits(0))
}

// HAProxy does not run any more. What its last worker held counts, and the answer does
// not wait.
func TestMakeRoomWithoutWorkers(t *testing.T) {
	_, client, _, tree := daemonIn(t, tiersNotEntered)
	known(t, client)
	tree.Write(group, "cgroup.procs", "")
	haproxytest.Eventually(t, "no worker", func() error {
		s, err := client.Status(t.Context())
		if err == nil && len(s.Targets[0].Masters) > 0 {
			err = errors.New("there are workers")
		}
		return err
	})
	room, err := client.MakeRoom(t.Context(), controller.RoomRequest{
		Reloads: 2, Timeout: maxRoomTimeout,
	})
	if err != nil || room.Result != status.RoomFound {
		t.Errorf("got %+v, %v", room, err)
	}
}

func TestMakeRoomOfNoTarget(t *testing.T) {
	_, client, _, _ := daemonIn(t, tiersNotEntered)
	known(t, client)
	_, err := client.MakeRoom(t.Context(), controller.RoomRequest{
		Target: "haproxy.service", Reloads: 2, Timeout: maxRoomTimeout,
	})
	const want = `"haproxy.service" is not guarded: guarded are /lb`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

// A daemon that hangs does not delay a reload for ever.
func TestMakeRoomOfAHungDaemon(t *testing.T) {
	defer func(d time.Duration) { roomPatience = d }(roomPatience)
	roomPatience = 0
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path) // the kernel connects, and no process answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = NewClient(path).MakeRoom(t.Context(), controller.RoomRequest{
		Reloads: 2, Timeout: minRoomTimeout,
	})
	if !errors.Is(err, ErrNoAnswer) {
		t.Errorf("got %v", err)
	}
}

func TestRoomRequests(t *testing.T) {
	h := routes(controller.New(controller.Config{Policy: &policy.Policy{}}), Reload{}, nil)
	for query, want := range map[string]int{
		"reloads=0":               http.StatusBadRequest,
		"reloads=-1":              http.StatusBadRequest,
		"reloads=NaN":             http.StatusBadRequest,
		"reloads=1001":            http.StatusBadRequest,
		"reloads=two":             http.StatusBadRequest,
		"timeout=0s":              http.StatusBadRequest,
		"timeout=51s":             http.StatusBadRequest,
		"timeout=20":              http.StatusBadRequest,
		"timeout=1s&timeout=2s":   http.StatusBadRequest,
		"tiemout=1s":              http.StatusBadRequest,
		"timeout=100ms&target=lb": http.StatusServiceUnavailable, // nothing was looked up
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/v1/make-room?"+query, nil)
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%q: %d %s, want %d", query, w.Code, w.Body, want)
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/v1/make-room", nil)
	if h.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET makes room: %d", w.Code)
	}
}

// Whatever is asked, a request is within its bounds or is none.
func FuzzRoomRequest(f *testing.F) {
	f.Add("target=haproxy.service&reloads=2&timeout=20s")
	f.Add("reloads=1e400&timeout=1ns")
	f.Add("reloads=inf")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Skip()
		}
		r, err := readRoomRequest(q)
		if err == nil && (!(r.Reloads > 0) || r.Reloads > maxReloads ||
			r.Timeout < minRoomTimeout || r.Timeout > maxRoomTimeout) {
			t.Errorf("%q is read as %+v", query, r)
		}
	})
}
