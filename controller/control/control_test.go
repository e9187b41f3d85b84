package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"hapressure/controller"
	"hapressure/controller/status"
	"hapressure/policy"
	"hapressure/policy/language"
	"hapressure/systemd"
	"hapressure/tests/cgrouptest"
	"hapressure/tests/haproxytest"
)

const group = "/lb"

// journal is one that tests read.
type journal struct {
	mu      sync.Mutex
	entries []systemd.Entry
}

func (j *journal) Send(e systemd.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, e)
	return nil
}

// daemon runs a controller on a real HAProxy with one stopping worker, and serves it at a
// socket.
func daemon(t *testing.T, text string) (*haproxytest.HAProxy, *Client, *journal) {
	t.Helper()
	h, client, j, _ := daemonIn(t, text)
	return h, client, j
}

// daemonIn is daemon, and returns the tree of cgroups as well.
func daemonIn(t *testing.T, text string) (
	*haproxytest.HAProxy, *Client, *journal, cgrouptest.Tree,
) {
	t.Helper()
	h := haproxytest.Start(t, haproxytest.Config{CacheSize: 50_000})
	h.Tunnel()
	h.Reload()
	tree := cgrouptest.New(t)
	tree.Group(group, map[string]string{"memory.current": "800000000\n", "memory.max": "1000000000\n"})
	pids := ""
	for _, pid := range h.Pids() {
		pids += fmt.Sprintln(pid)
	}
	tree.Write(group, "cgroup.procs", pids)
	p, err := language.Decode(language.File{Name: "test.yaml", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{}
	c := controller.New(controller.Config{
		Policy: p, Origin: "the policy test.yaml", Procfs: "/proc", Cgroups: tree.Mount, Journal: j,
		Daemon: &status.Daemon{Version: "test", PID: os.Getpid()},
	})
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	wg.Go(func() {
		if err := Serve(ctx, l, Handler(c, Reload{}, nil)); err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return h, NewClient(path), j, tree
}

const watchOnly = `version: 1
targets: [cgroup: /lb]
tiers:
  - name: watch
    enter: {usage: {above: 70%}}
    leave: {usage: {below: 60%}}
    actions: [hard-stop-after: {limit: 10h}]
`

func TestStatusAndPurge(t *testing.T) {
	h, client, j := daemon(t, watchOnly)
	var s status.Status
	h.Eventually("the target, its tier and its workers", func() (err error) {
		s, err = client.Status(t.Context())
		switch {
		case err != nil:
			return err
		case len(s.Targets) != 1 || s.Targets[0].Tier != 1 || len(s.Targets[0].Masters) != 1 || len(s.Targets[0].Masters[0].Workers) != 2:
			return fmt.Errorf("status %+v", s)
		case s.Targets[0].Masters[0].Workers[0].State != "stopping" || s.Targets[0].Masters[0].Workers[1].State != "current":
			return fmt.Errorf("workers %+v", s.Targets[0].Masters[0].Workers)
		}
		return nil
	})
	target := s.Targets[0]
	if target.Name != group || target.Tiers[0] != "watch" || target.TierSince == nil || !strings.Contains(target.TierWhy, "80% > 70%") {
		t.Errorf("tier: %+v", target)
	}
	if target.Limit != (status.Limit{Name: group + " memory.max", Bytes: 1e9, Used: 8e8}) || target.Usage.Value != 80 || len(target.History) == 0 {
		t.Errorf("memory: %+v %+v, history %v", target.Limit, target.Usage, target.History)
	}
	if s.Daemon == nil || s.Daemon.Version != "test" || s.Policy.Origin != "the policy test.yaml" {
		t.Errorf("daemon %+v, policy %+v", s.Daemon, s.Policy)
	}
	old, young := target.Masters[0].Workers[0], target.Masters[0].Workers[1]
	if *old.Connections < 1 || *old.Cache < 10e6 || *old.HardStopIn > 36000 || *old.HardStopIn < 35000 {
		t.Errorf("stopping worker: %d connections, cache of %d bytes, hard stop "+
			"in %v s", *old.Connections, *old.Cache, *old.HardStopIn)
	}
	if young.HardStopIn != nil || young.Cache != nil {
		t.Errorf("current worker: %+v", young)
	}

	for _, tt := range []struct {
		pid    int
		dryRun bool
		want   string
	}{{young.PID, false, status.Refused}, {old.PID, true, status.WouldPurge}, {old.PID, false, status.Purged}} {
		done, err := client.Purge(t.Context(), group, tt.pid, tt.dryRun)
		if err != nil || done.Result != tt.want || done.PID != tt.pid {
			t.Errorf("purge of %d, dry run %v: %+v, %v; "+
				"want %s", tt.pid, tt.dryRun, done, err, tt.want)
		}
	}
	h.Eventually("what was done", func() error {
		s, err := client.Status(t.Context())
		if err != nil {
			return err
		}
		if a := s.Targets[0].Actions; len(a) != 3 || a[2].Tier != "by hand" || a[2].Result != policy.Done || a[2].Freed < 10e6 {
			return fmt.Errorf("actions %+v", a)
		}
		return nil
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	if e := j.entries[len(j.entries)-1]; e.MessageID != controller.Action.ID() || !strings.Contains(e.Message, "asked for by user "+strconv.Itoa(os.Getuid())) {
		t.Errorf("last entry %q", e.Message)
	}
	for target, pid := range map[string]int{"/nothing": old.PID, group: os.Getpid()} {
		if _, err := client.Purge(t.Context(), target, pid, true); err == nil || !strings.Contains(err.Error(), "no such worker") {
			t.Errorf("purge of %d in %s: %v", pid, target, err)
		}
	}
}

func TestOrders(t *testing.T) {
	h := routes(controller.New(controller.Config{Policy: &policy.Policy{}}), Reload{}, nil)
	for query, want := range map[string]int{
		"":                            http.StatusBadRequest,
		"target=x":                    http.StatusBadRequest,
		"target=x&pid=0":              http.StatusBadRequest,
		"target=x&pid=-5":             http.StatusBadRequest,
		"target=x&pid=1&pid=2":        http.StatusBadRequest,
		"target=x&pid=1&dryrun=true":  http.StatusBadRequest,
		"target=x&pid=1&dry-run=yes":  http.StatusBadRequest,
		"target=x&pid=1&dry-run=true": http.StatusNotFound,
		"target=x&pid=99999999999999999999999999": http.StatusBadRequest,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/purge?"+query, nil))
		if w.Code != want {
			t.Errorf("%q: %d %s, want %d", query, w.Code, w.Body, want)
		}
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/purge?target=x&pid=1", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET purges: %d", w.Code)
	}
}

// Over TCP the user of a client is unknown, so no client is answered.
func TestNoClientOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go Serve(t.Context(), l, Handler(controller.New(controller.Config{Policy: &policy.Policy{}}), Reload{}, nil))
	r, err := http.Get("http://" + l.Addr().String() + "/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusForbidden {
		t.Errorf("answered with %s", r.Status)
	}
}

func TestReload(t *testing.T) {
	var mistakes error
	h := Handler(controller.New(controller.Config{Policy: &policy.Policy{}}), Reload{Policy: func(context.Context) error { return mistakes }}, nil)
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go Serve(t.Context(), l, h)
	if err := NewClient(path).Reload(t.Context()); err != nil {
		t.Error(err)
	}
	mistakes = errors.New("site.yaml:3:1: no such tier")
	if err := NewClient(path).Reload(t.Context()); err == nil || !strings.Contains(err.Error(), mistakes.Error()) {
		t.Errorf("got %v, want %v", err, mistakes)
	}
}

// Whatever is asked, an order names one worker or is none.
func FuzzOrder(f *testing.F) {
	f.Add("target=haproxy.service&pid=4711&dry-run=true")
	f.Add("target=%2Flb&pid=1")
	f.Add("pid=1&pid=2")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Skip()
		}
		if o, err := readOrder(q); err == nil && (o.target == "" || o.pid <= 0 || o.dryRun != (q.Get("dry-run") != "" && strings.ContainsAny(q.Get("dry-run"), "1tT"))) {
			t.Errorf("%q is read as %+v", query, o)
		}
	})
}

func TestNoDaemon(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "left"))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for _, name := range []string{"none", "left"} {
		if _, err := NewClient(filepath.Join(dir, name)).Status(t.Context()); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("%s: %v, want ErrNoDaemon", name, err)
		}
	}
}

// TestMain is the client of TestPeers, as another user.
func TestMain(m *testing.M) {
	if path := os.Getenv("CONTROL_TEST_SOCKET"); path != "" {
		_, err := NewClient(path).Status(context.Background())
		fmt.Print(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestPeers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be others")
	}
	lookupGroup = func(string) (*user.Group, error) { return &user.Group{Gid: "4242"}, nil }
	t.Cleanup(func() { lookupGroup = user.LookupGroup })
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	program := filepath.Join(dir, "client")
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(program, self, 0o755)
	}
	path := filepath.Join(dir, "control.sock")
	l, lerr := net.Listen("unix", path)
	if err = errors.Join(err, lerr, os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	h := guarded(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }))
	go Serve(t.Context(), l, h)
	many := make([]uint32, 100)
	for i := range many {
		many[i] = uint32(5000 + i)
	}
	for name, tt := range map[string]struct {
		cred syscall.Credential
		ok   bool
	}{
		"root":          {syscall.Credential{}, true},
		"a member":      {syscall.Credential{Uid: 4243, Gid: 4242}, true},
		"another group": {syscall.Credential{Uid: 4243, Gid: 4243}, false},
		"by a supplementary " +
			"group": {syscall.Credential{Uid: 4243, Gid: 4243, Groups: []uint32{7, 4242}}, true},
		"of many groups": {syscall.Credential{Uid: 4243, Gid: 4243, Groups: many}, false},
		"of many groups, the right one " +
			"included": {syscall.Credential{Uid: 4243, Gid: 4243, Groups: append([]uint32{4242}, many...)}, true},
	} {
		cmd := exec.Command(program)
		cmd.Env = []string{"CONTROL_TEST_SOCKET=" + path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &tt.cred}
		out, err := cmd.Output()
		if err != nil || (string(out) == "<nil>") != tt.ok || !tt.ok && !strings.Contains(string(out), "only root") {
			t.Errorf("%s: %s, %v; want it let in: %v", name, out, err, tt.ok)
		}
	}
	// What one user holds keeps no other waiting.
	for range maxOfUser {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if _, err := NewClient(path).Status(t.Context()); err == nil {
		t.Error("who holds all connections of a user gets one more")
	}
	cmd := exec.Command(program)
	cmd.Env = []string{"CONTROL_TEST_SOCKET=" + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4243, Gid: 4242}}
	if out, err := cmd.Output(); err != nil || string(out) != "<nil>" {
		t.Errorf("another user, while one holds all that he may: %s, %v", out, err)
	}
}
