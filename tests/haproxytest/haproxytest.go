// Package haproxytest runs a real HAProxy for tests, in master-worker mode or without a
// master, with a TLS front and an echo server behind it.
package haproxytest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Deadline is how long tests wait for an event that must come: generous, for machines
// are slow and busy.
const Deadline = 60 * time.Second

// Config is what tests vary.
type Config struct {
	Release   string     // one of Releases; "" is the host's HAProxy
	Path      string     // of a copy of that program, or of a link to one
	CacheSize int        // tune.ssl.cachesize; 0 disables the cache
	Threads   int        // nbthread, default 2
	NoCLI     bool       // start the master without -S
	CLI       string     // options of -S, such as ,level,operator
	UID       uint32     // run all of HAProxy as this user
	Global    string     // further lines of the global section
	Sections  string     // further sections; DIR in them stands for Inside("")
	Stats     string     // options of a stats socket, stats.sock; "" has none
	Files     []*os.File // that the master inherits, from descriptor 3 on
	Args      []string   // instead of -W, -f and -S, with NoCLI; DIR in them stands for Inside("")
	Parent    []string   // a command that starts the command which follows it, HAProxy; DIR stands for Dir
	FirstPID  bool       // start Parent, or HAProxy, as process 1 of a pid namespace
	Root      uint32     // run HAProxy in a user namespace whose root is this user of the host
	OwnPIDs   bool       // run HAProxy in a pid namespace that outlives its processes

	Stderr *os.File // standard error; nil is the log
}

// HAProxy is a running master with its workers, or what StartAlone started.
type HAProxy struct {
	t          testing.TB
	Version    string // such as 2.6.12
	Dir        string // holds haproxy.cfg, master.sock and the log
	Addr       string // address of the TLS front, which gives no tickets
	TicketAddr string // the same with tickets
	HTTPAddr   string // address of the HTTP/2 front
	Master     int    // 0 without a master
	conf       Config
	root       string // the directory HAProxy has for /, "" for the host's
	program    string
	cmd        *exec.Cmd
	echo, web  string
}

// Start runs HAProxy until the test ends. It skips the test under -short, and fails it
// if there is no HAProxy.
func Start(t testing.TB, conf Config) *HAProxy {
	t.Helper()
	h := prepare(t, conf)
	args := []string{"-W", "-f", h.Inside("haproxy.cfg")}
	if !conf.NoCLI {
		args = append(args, "-S", h.Inside("master.sock")+conf.CLI)
	}
	if conf.Args != nil {
		args = replaceDir(conf.Args, h.Inside(""))
	}
	log, err := os.Create(filepath.Join(h.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	h.cmd = h.command(args...)
	h.cmd.Stdout, h.cmd.Stderr, h.cmd.ExtraFiles = log, log, conf.Files
	if conf.Stderr != nil {
		h.cmd.Stderr = conf.Stderr
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatalf("starting HAProxy: %v", err)
	}
	h.Master = h.cmd.Process.Pid
	exited := make(chan struct{})
	go func() { h.cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		syscall.Kill(h.Master, syscall.SIGTERM)
		if conf.FirstPID {
			h.cmd.Process.Kill() // and with it all of its namespace, which could restart the master
		}
		select {
		case <-exited:
		case <-time.After(Deadline):
			h.cmd.Process.Kill()
		}
		log.Close()
		if t.Failed() {
			t.Logf("HAProxy's log:\n%s", h.Log())
		}
	})
	h.answers()
	for conf.Parent != nil && !h.isHAProxy(h.Master) {
		h.Master = h.Children()[0]
	}
	return h
}

// isHAProxy reports whether a process runs HAProxy, and not what starts it.
func (h *HAProxy) isHAProxy(pid int) bool {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return filepath.Base(exe) == filepath.Base(h.program)
}

// replaceDir replaces DIR in arguments.
func replaceDir(args []string, dir string) (replaced []string) {
	for _, arg := range args {
		replaced = append(replaced, strings.ReplaceAll(arg, "DIR", dir))
	}
	return replaced
}

// answers waits until HAProxy serves.
func (h *HAProxy) answers() {
	h.t.Helper()
	h.Eventually("HAProxy answers", func() error {
		c, err := h.dial()
		if err == nil {
			c.Close()
		}
		return err
	})
}

// prepare finds HAProxy and writes its configuration.
func prepare(t testing.TB, conf Config) *HAProxy {
	t.Helper()
	if conf.Threads == 0 {
		conf.Threads = 2
	}
	h := find(t, conf.Release)
	if conf.Root != 0 {
		conf.Parent = enterUserNamespace(t, conf.Root)
	}
	if conf.OwnPIDs {
		conf.Parent = []string{"nsenter", "--pid", "--target",
			holdNamespace(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID})}
	}
	h.t, h.conf = t, conf
	if conf.Path != "" {
		h.program = conf.Path
	}
	var err error
	if h.Dir, err = os.MkdirTemp(filepath.Join(h.root, "/tmp"), "haproxy"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(h.Dir) })
	h.echo, h.web = echoServer(t), httpEchoServer(t)
	if err := FreeAddrs(&h.Addr, &h.TicketAddr, &h.HTTPAddr); err != nil {
		t.Fatal(err)
	}
	if err := WriteCert(filepath.Join(h.Dir, "site.pem")); err != nil {
		t.Fatal(err)
	}
	h.WriteConfig("")
	for _, name := range []string{"", "haproxy.cfg", "site.pem"} {
		owner := int(max(conf.UID, conf.Root))
		if err := os.Chown(filepath.Join(h.Dir, name), owner, -1); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// enterUserNamespace makes a user namespace that lasts until the test ends, and returns a
// command that executes another one as its root. It has 65536 users.
func enterUserNamespace(t testing.TB, root uint32) []string {
	t.Helper()
	ids := []syscall.SysProcIDMap{{HostID: int(root), Size: 1 << 16}}
	holder := holdNamespace(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: ids, GidMappings: ids})
	return []string{"nsenter", "--user", "--target", holder, "--setuid", "0", "--setgid", "0"}
}

// holdNamespace starts a process in new namespaces that does nothing until the test ends,
// and returns its pid.
func holdNamespace(t testing.TB, attr *syscall.SysProcAttr) string {
	t.Helper()
	holder := exec.Command("cat")
	holder.SysProcAttr = attr
	StartChild(t, holder)
	return strconv.Itoa(holder.Process.Pid)
}

// Version is what the HAProxy of a release says of itself.
func Version(t testing.TB, release string) string {
	t.Helper()
	return find(t, release).Version
}

// find knows where the HAProxy of a release is, and its version.
func find(t testing.TB, release string) *HAProxy {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real HAProxy: left out under -short")
	}
	h := &HAProxy{}
	h.root, h.program = install(t, release)
	out, err := h.command("-v").Output()
	if _, serr := fmt.Sscanf(string(out), "HAProxy version %s", &h.Version); serr != nil {
		t.Fatalf("asking HAProxy for its version: %q, %v", out, err)
	}
	return h
}

func (h *HAProxy) command(args ...string) *exec.Cmd {
	line, attr := append([]string{h.program}, args...), &syscall.SysProcAttr{Chroot: h.root}
	if h.conf.Parent != nil {
		// The parent is a program of the host.
		if h.root != "" {
			line = append([]string{"chroot", h.root}, line...)
		}
		line, attr.Chroot = append(replaceDir(h.conf.Parent, h.Dir), line...), ""
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.SysProcAttr = attr
	if h.root != "" {
		cmd.Dir = "/"
	}
	if h.conf.UID != 0 {
		cmd.Dir = "/" // 2.6 goes back to where it was started, which the user must be able to enter
		attr.Credential = &syscall.Credential{Uid: h.conf.UID, Gid: h.conf.UID}
	}
	if h.conf.FirstPID {
		attr.Cloneflags = syscall.CLONE_NEWPID
	}
	return cmd
}

// Program is the path of the executable of this host's HAProxy.
func Program(t testing.TB) string {
	t.Helper()
	return find(t, "").program
}

// Inside is the path, as HAProxy sees it, of a file in Dir.
func (h *HAProxy) Inside(name string) string {
	return filepath.Join(strings.TrimPrefix(h.Dir, h.root), name)
}

// Log is what HAProxy wrote so far.
func (h *HAProxy) Log() string {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.Dir, "log"))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

// Socket is the path of the master CLI's socket.
func (h *HAProxy) Socket() string { return filepath.Join(h.Dir, "master.sock") }

// SetGlobal replaces the further lines of the global section.
func (h *HAProxy) SetGlobal(lines string) {
	h.conf.Global = lines
	h.WriteConfig("")
}

// WriteConfig writes the configuration; broken is added to it as it is.
func (h *HAProxy) WriteConfig(broken string) {
	stats := ""
	if h.conf.Stats != "" {
		stats = "stats socket " + h.Inside("stats.sock") + " " + h.conf.Stats
	}
	text := fmt.Sprintf(`global
    nbthread %d
    tune.ssl.cachesize %d
    %s
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend tunnels
    bind %[4]s ssl crt %[7]s no-tls-tickets
    bind %[5]s ssl crt %[7]s
    default_backend echo
backend echo
    server echo %[8]s
frontend web
    mode http
    bind %[6]s ssl crt %[7]s alpn h2
    default_backend webecho
backend webecho
    mode http
    server web %[9]s
%[10]s
%[11]s
`, h.conf.Threads, h.conf.CacheSize, h.conf.Global+"\n    "+stats, h.Addr, h.TicketAddr,
		h.HTTPAddr, h.Inside("site.pem"), h.echo, h.web,
		strings.ReplaceAll(h.conf.Sections, "DIR", h.Inside("")), broken)
	if err := os.WriteFile(filepath.Join(h.Dir, "haproxy.cfg"), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// Children lists the pids of the master's children.
func (h *HAProxy) Children() []int {
	h.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", h.Master, h.Master))
	if err != nil {
		h.t.Fatalf("listing the master's children: %v", err)
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		var pid int
		fmt.Sscan(f, &pid)
		pids = append(pids, pid)
	}
	return pids
}

// Pids lists the master and its children, or the processes without a master.
func (h *HAProxy) Pids() []int {
	if h.Master == 0 {
		return h.alone()
	}
	return append([]int{h.Master}, h.Children()...)
}

// SignalReload asks the master for a reload, once it is ready for one, and does not
// wait for what comes of it.
func (h *HAProxy) SignalReload() {
	h.t.Helper()
	h.Eventually("the master waits for signals", func() error {
		// A master that is still loading loses the signal. Up to 3.0 it executes itself
		// again when it has loaded.
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", h.Master))
		if err != nil {
			return err
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Master))
		if err != nil {
			return err
		}
		if h.Before(3, 1) && !bytes.Contains(env, []byte("HAPROXY_MWORKER_WAIT_ONLY=1")) ||
			!catches(status, syscall.SIGUSR2) || !bytes.Contains(status, []byte("State:\tS")) {
			return errors.New("it is still loading")
		}
		if err == nil && !h.Ask("show proc", "worker") {
			err = errors.New("its CLI does not answer")
		}
		return err
	})
	if err := syscall.Kill(h.Master, syscall.SIGUSR2); err != nil {
		h.t.Fatalf("reloading: %v", err)
	}
}

// Built reports whether the release was built with a feature, as `haproxy -vv` names it.
func (h *HAProxy) Built(feature string) bool {
	h.t.Helper()
	out, err := h.command("-vv").Output()
	if err != nil {
		h.t.Fatalf("asking HAProxy for its features: %v", err)
	}
	return bytes.Contains(out, []byte("+"+feature+" "))
}

// Before reports whether the release is older than major.minor.
func (h *HAProxy) Before(major, minor int) bool {
	var v [2]int
	fmt.Sscanf(h.Version, "%d.%d", &v[0], &v[1])
	return slices.Compare(v[:], []int{major, minor}) < 0
}

// catches reports whether a process has a handler for sig, going by its /proc/PID/status.
func catches(status []byte, sig syscall.Signal) bool {
	_, rest, _ := bytes.Cut(status, []byte("SigCgt:\t"))
	hex, _, _ := bytes.Cut(rest, []byte("\n"))
	mask, err := strconv.ParseUint(string(hex), 16, 64)
	return err == nil && mask&(1<<(sig-1)) != 0
}

// Reload makes a new generation and waits until it serves.
func (h *HAProxy) Reload() {
	h.t.Helper()
	before := map[int]bool{}
	for _, pid := range h.Children() {
		before[pid] = true
	}
	h.SignalReload()
	h.Eventually("a new worker appears and listens", func() error {
		for _, pid := range h.Children() {
			// One that loads is not listed, and a question to it can cost the master a
			// slot of its CLI for good.
			if !before[pid] && h.Ask("show proc", fmt.Sprintf("\n%d ", pid)) &&
				h.Ask(fmt.Sprintf("@!%d show info", pid), "\nStopping: 0\n") {
				return nil
			}
		}
		return fmt.Errorf("children %v", h.Children())
	})
}

// Ask sends a command to the master CLI and reports whether the answer contains what;
// without a CLI it reports true after a request has been served.
func (h *HAProxy) Ask(command, what string) bool {
	if h.conf.NoCLI {
		c, err := h.dial()
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	c, err := net.DialTimeout("unix", h.Socket(), Deadline)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(Deadline))
	io.WriteString(c, command+"\n")
	first := make([]byte, 1)
	if _, err := c.Read(first); err != nil {
		return false
	}
	// not before: a half-close that comes with the command can be lost, and the slot
	// with it
	c.(*net.UnixConn).CloseWrite()
	b, _ := io.ReadAll(c)
	return strings.Contains(string(append(first, b...)), what)
}

func (h *HAProxy) dial() (*tls.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: Deadline},
		Config: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}}
	c, err := d.Dial("tcp", h.Addr)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(Deadline))
	return c.(*tls.Conn), Echo(c)
}

// Tunnel opens a TLS tunnel through HAProxy that stays open until the test ends.
func (h *HAProxy) Tunnel() net.Conn {
	h.t.Helper()
	c, err := h.dial()
	if err != nil {
		h.t.Fatalf("opening a tunnel: %v", err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

// Tunnel is a connection or a Stream.
type Tunnel interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// Echo sends a message through a tunnel and wants it back.
func Echo(c Tunnel) error {
	msg := []byte("ping through the tunnel\n")
	if err := c.SetDeadline(time.Now().Add(Deadline)); err != nil {
		return err
	}
	if _, err := c.Write(msg); err != nil {
		return err
	}
	got := make([]byte, len(msg))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, msg) {
		return fmt.Errorf("echo returned %q", got)
	}
	return nil
}

// Eventually waits until cond returns nil; the test fails if it does not within Deadline.
func (h *HAProxy) Eventually(what string, cond func() error) {
	h.t.Helper()
	Eventually(h.t, what, cond)
}

// Eventually is the same for a test without a HAProxy.
func Eventually(t testing.TB, what string, cond func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(Deadline)
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waiting until %s: %v", what, err)
		}
		<-tick.C
	}
}

func echoServer(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	return l.Addr().String()
}

// FreeAddrs finds as many addresses of this host on which no socket listened a moment
// ago. HAProxy shares its ports with other processes (SO_REUSEPORT), so they are all
// different, and of an IP address of this process alone: tests of several packages run
// side by side.
func FreeAddrs(addrs ...*string) error {
	pid := os.Getpid()
	own := net.IPv4(127, 1+byte(pid>>16), byte(pid>>8), byte(pid)).String()
	for _, addr := range addrs {
		l, err := net.Listen("tcp", own+":0")
		if err != nil {
			return err
		}
		defer l.Close()
		*addr = l.Addr().String()
	}
	return nil
}

// WriteCert makes a throwaway certificate and writes it with its key to path, as
// HAProxy's crt wants it.
func WriteCert(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0),
		DNSNames: []string{"localhost"}}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	b := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
	return os.WriteFile(path, b, 0o600)
}
