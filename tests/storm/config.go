package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

const (
	tunnelPort = "8443"
	freshPort  = "8444"
	// generationHeader carries the number of the reload whose configuration answered.
	generationHeader = "X-Storm-Generation"
)

// layout is where HAProxy finds its files and listens.
type layout struct {
	Dir      string // folder of haproxy.cfg and what it names
	Address  string // loopback address of the front ends
	Packaged bool   // chroot, user and sockets as Debian's own haproxy.cfg has them
}

func (l layout) file(name string) string { return filepath.Join(l.Dir, name) }

// config is what changes haproxy.cfg.
type config struct {
	layout
	CacheSize, NbThread, MaxConn int
	Heap                         bool
	Certificates                 string // a further argument of bind; "" = none
	HardStop                     time.Duration
	EchoServer                   string
	HTTPServer                   string
	Generation                   int
	Broken                       bool // a keyword HAProxy does not know
}

// haproxy.cfg normally has no hard-stop-after: an old worker lives as long as its last
// tunnel, which is the trouble to be made. Tickets are off so that TLS 1.2 sessions
// really go to the cache. There is no log: it would only load journald.
var haproxyCfg = template.Must(template.New("haproxy.cfg").Parse(`global
{{- if .Packaged}}
    chroot /var/lib/haproxy
    stats socket /run/haproxy/admin.sock mode 660 level admin expose-fd listeners
    stats timeout 30s
    user haproxy
    group haproxy
    daemon
{{- end}}
{{- if .MaxConn}}
    maxconn {{.MaxConn}}
{{- end}}
{{- if .HardStop}}
    hard-stop-after {{.HardStop.Milliseconds}}ms
{{- end}}
{{- if .NbThread}}
    nbthread {{.NbThread}}
{{- end}}
    tune.ssl.cachesize {{.CacheSize}}
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
{{- if .Broken}}
    this-keyword-is-wrong-on-purpose
{{- end}}

defaults
    timeout connect 30s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h

frontend tunnels
    mode tcp
    bind {{.Address}}:` + tunnelPort + ` ssl crt {{.Dir}}/storm.pem
    default_backend echo

backend echo
    mode tcp
    server echo {{.EchoServer}}

frontend fresh
    mode http
    bind {{.Address}}:` + freshPort + ` ssl crt {{.Dir}}/storm.pem{{.Certificates}}
{{- if .Heap}}
    http-request set-header X-Storm-Map %[path,map_str({{.Dir}}/storm.map)]
{{- end}}
    http-response set-header ` + generationHeader + ` {{.Generation}}
    default_backend web

backend web
    mode http
    server web {{.HTTPServer}}
`))

// write puts haproxy.cfg in place whole, so that a reload never reads half of it.
func (c config) write() error {
	name := c.file("haproxy.cfg")
	f, err := os.Create(name + ".new")
	if err != nil {
		return fmt.Errorf("writing HAProxy's configuration: %w", err)
	}
	if err := haproxyCfg.Execute(f, c); err != nil {
		f.Close()
		return fmt.Errorf("writing HAProxy's configuration: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing HAProxy's configuration: %w", err)
	}
	return os.Rename(name+".new", name)
}

// A map's entry costs HAProxy about 1264 bytes on the heap when its key has 500
// characters (measured on 2.6.12). Long keys make the same memory from fewer entries:
// an emulated machine parses 100 MiB of them in seconds, not minutes.
const (
	mapKeyLength     = 500
	mapEntriesPerMiB = (1 << 20) / 1264
)

// writeMap writes a map that takes about mib MiB of a worker's private memory once it
// is loaded.
func writeMap(name string, mib int) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("writing the map: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	random := make([]byte, 8)
	filler := fmt.Sprintf("%0*d", mapKeyLength-16, 0)
	for range mib * mapEntriesPerMiB {
		rand.Read(random) // never returns an error
		fmt.Fprintf(w, "%x%s value\n", random, filler)
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return fmt.Errorf("writing the map: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing the map: %w", err)
	}
	return nil
}

// copyCertificate writes n copies of a certificate into a folder. HAProxy loads each.
func copyCertificate(name, folder string, n int) error {
	pem, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("writing certificates: %w", err)
	}
	for i := range n {
		name := filepath.Join(folder, fmt.Sprintf("%d.pem", i))
		if err := os.WriteFile(name, pem, 0o600); err != nil {
			return fmt.Errorf("writing certificates: %w", err)
		}
	}
	return nil
}

// writeCertificate makes a throwaway authority and a certificate for address, writes
// the latter with its key to name, and returns the client's side of it: TLS 1.2 only,
// since 1.3 does not use the session cache the same way.
func writeCertificate(name, address string) (*tls.Config, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the server's key: %w", err)
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "storm authority"},
		// A day early: a guest's clock may be off.
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "storm"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.ParseIP(address)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, fmt.Errorf("making the authority's certificate: %w", err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, fmt.Errorf("making the server's certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the server's key: %w", err)
	}
	file := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	if err := os.WriteFile(name, file, 0o600); err != nil {
		return nil, fmt.Errorf("writing the certificate: %w", err)
	}
	caCert, err := x509.ParseCertificate(caDER)
	if err != nil {
		return nil, fmt.Errorf("parsing the authority's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(caCert)
	return &tls.Config{RootCAs: roots, ServerName: address, MaxVersion: tls.VersionTLS12}, nil
}

// echo answers every connection with what it sends, until l is closed.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}
