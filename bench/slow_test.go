package bench

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// slowRole is the role of this test binary as clients that keep a server busy: a process of its own.
const slowRole = "STEPWATCH_BENCH_SLOW"

// slowness says what such clients do.
type slowness struct {
	Kind    string // "headers", "readers", "bodies", "handshakes", "passwords"
	Clients int
	From    string // their address
	To      string // host and port of the server
	TLS     bool
	Login   string // the value of Authorization
}

// slowPause is the time between two bytes, and before a client whose connection was closed comes again.
const slowPause = 100 * time.Millisecond

// slowClientRole plays the role that the environment names, if any.
func slowClientRole() (played bool, err error) {
	spec := os.Getenv(slowRole)
	if spec == "" {
		return false, nil
	}
	var s slowness
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return true, err
	}
	for range s.Clients {
		go func() {
			for {
				s.client()
				time.Sleep(slowPause)
			}
		}()
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return true, err
}

// client connects, and does its worst until the connection ends.
func (s *slowness) client() {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.From)}, Timeout: 5 * time.Second}
	dialer.Control = func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			if s.Kind == "readers" {
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) // the kernel reads little ahead
			}
		})
	}
	conn, err := dialer.DialContext(context.Background(), "tcp", s.To)
	if err != nil {
		return
	}
	defer conn.Close()
	if s.Kind == "handshakes" {
		drip(conn, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("x", 500))
		return
	}
	if s.TLS {
		over := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if over.Handshake() != nil {
			return
		}
		conn = over
	}
	login := ""
	if s.Login != "" {
		login = "Authorization: " + s.Login + "\r\n"
	}
	switch s.Kind {
	case "headers":
		drip(conn, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n"+login+"X-Slow: "+strings.Repeat("x", 4000))
	case "bodies":
		_, _ = io.WriteString(conn, "POST /api/silences HTTP/1.1\r\nHost: localhost\r\n"+login+"Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n")
		drip(conn, strings.Repeat(" ", 60000))
	case "readers":
		_, _ = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n"+login+"\r\n")
		for one := make([]byte, 1); ; time.Sleep(slowPause) {
			if _, err := conn.Read(one); err != nil {
				return
			}
		}
	case "passwords":
		for answer := make([]byte, 4096); ; {
			wrong := base64.StdEncoding.EncodeToString([]byte("anna:" + rand.Text()))
			if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic "+wrong+"\r\n\r\n"); err != nil {
				return
			}
			if _, err := conn.Read(answer); err != nil {
				return
			}
			time.Sleep(slowPause)
		}
	}
}

// drip sends a text a byte at a time.
func drip(to io.Writer, text string) {
	for i := range len(text) {
		if _, err := io.WriteString(to, text[i:i+1]); err != nil {
			return
		}
		time.Sleep(slowPause)
	}
}

// BenchmarkSlowClients scrapes an agent with 1,000 scenarios, ten times a second with a new connection each time, while 500
// clients use its HTTP server as slowly as they can. A client whose connection is closed comes again after 100 ms.
// STEPWATCH_BENCH_SLOW_KINDS selects kinds of clients ("headers,readers"), STEPWATCH_BENCH_SECONDS the time for each row.
func BenchmarkSlowClients(b *testing.B) {
	for b.Loop() {
		s := startSite(b, site{Targets: 1000})
		rows := slices.DeleteFunc(stepwatchRows(b, s, "10s"), func(c *contender) bool { return c.name == noHistory })
		dir := filepath.Dir(rows[0].command[3])
		certificate(b, dir)
		var table bytes.Buffer
		out := tabwriter.NewWriter(&table, 0, 8, 1, ' ', tabwriter.Debug)
		fmt.Fprintln(out, "\t row\t\t 500 clients\t from\t scrapes\t failed\t p50 ms\t p95\t p99\t max\t agent CPU %\t RSS MB\t")
		for _, row := range rows {
			for _, secure := range []bool{false, true} {
				if secure && row.name != "stepwatch" {
					continue // an older agent
				}
				slowRows(b, out, row, dir, secure)
			}
		}
		_ = out.Flush()
		b.Logf("\n%s", table.String())
		s.end()
	}
}

// slowRows starts an agent and measures its scrapes beside each kind of slow clients.
func slowRows(b *testing.B, out io.Writer, row *contender, dir string, secure bool) {
	b.Helper()
	command, kinds := slices.Clone(row.command), []string{"", "headers", "bodies", "readers"}
	if secure {
		command = append(command, "--web.config.file", filepath.Join(dir, "web.yml"))
		kinds = append(kinds, "handshakes", "passwords")
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = b.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "XDG_STATE_HOME="+cmd.Dir)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	said := &talk{after: row.says, found: make(chan string, 1)}
	var reading sync.WaitGroup
	reading.Go(func() { said.read(stderr) })
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		reading.Wait()
		_ = cmd.Wait() // by the signal
	}()
	var url string
	select {
	case url = <-said.found:
	case <-time.After(30 * time.Second):
		b.Fatalf("%s does not say where its page is: %s", row.name, said.all())
	}
	time.Sleep(11 * time.Second) // each scenario has run
	for _, kind := range kinds {
		for _, from := range []string{"127.0.0.1", "127.8.8.8"} {
			if kind == "" && from != "127.0.0.1" {
				continue
			}
			if only := os.Getenv("STEPWATCH_BENCH_SLOW_KINDS"); only != "" && kind != "" && !slices.Contains(strings.Split(only, ","), kind) {
				continue
			}
			slowRow(b, out, row.name, url, cmd.Process.Pid, slowness{Kind: kind, Clients: 500, From: from, TLS: secure})
		}
	}
}

// slowRow measures the scrapes of an agent beside slow clients.
func slowRow(b *testing.B, out io.Writer, name, url string, pid int, slow slowness) {
	b.Helper()
	scheme, address, _ := strings.Cut(url, "://")
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	if slow.TLS {
		client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		slow.Login = "Basic " + base64.StdEncoding.EncodeToString([]byte("anna:secret"))
	}
	once := func() (time.Duration, error) {
		request, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		request.Header.Set("Accept-Encoding", "gzip")
		if slow.Login != "" {
			request.Header.Set("Authorization", slow.Login)
		}
		begin := time.Now()
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return 0, err
		}
		if response.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("status %d", response.StatusCode)
		}
		return time.Since(begin), nil
	}
	if _, err := once(); err != nil {
		b.Fatal(err)
	}
	if slow.Kind != "" {
		slow.To, _, _ = strings.Cut(address, "/")
		spec, err := json.Marshal(slow)
		if err != nil {
			b.Fatal(err)
		}
		clients := exec.Command(os.Args[0])
		clients.Env = append(os.Environ(), slowRole+"="+string(spec))
		input, err := clients.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := clients.Start(); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = input.Close(); _ = clients.Wait() }()
		time.Sleep(2 * time.Second)
	}
	pids := family(pid)
	used, began := cpuOf(pids), time.Now()
	var took []time.Duration
	var last error
	failed := 0
	for next := time.Now(); time.Since(began) < windowTime(); next = next.Add(100 * time.Millisecond) {
		time.Sleep(time.Until(next))
		d, err := once()
		if err != nil {
			failed, last = failed+1, err
			continue
		}
		took = append(took, d)
	}
	share := 100 * (cpuOf(pids) - used).Seconds() / time.Since(began).Seconds()
	memory := 0.0
	for _, one := range pids {
		memory += residentOf(one)
	}
	slices.Sort(took)
	at := func(q float64) float64 {
		if len(took) == 0 {
			return 0
		}
		return ms(took[min(len(took)-1, int(q*float64(len(took))))])
	}
	kind, from := slow.Kind, slow.From
	if kind == "" {
		kind, from = "none", ""
	}
	fmt.Fprintf(io.MultiWriter(out, os.Stderr), "\t %s\t %s\t %s\t %s\t %d\t %d\t %.1f\t %.1f\t %.1f\t %.1f\t %.0f\t %.0f\t\n", name, scheme, kind, from, len(took)+failed, failed, at(0.5), at(0.95), at(0.99), at(1), share, memory)
	if last != nil {
		b.Logf("%s %s %s: the last failure: %v", name, scheme, kind, last)
	}
}

// certificate writes a web configuration with TLS and a login into a directory.
func certificate(b *testing.B, dir string) {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		b.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		b.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.DefaultCost)
	if err != nil {
		b.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"web.yml": fmt.Appendf(nil, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {anna: %s}\n", hash),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			b.Fatal(err)
		}
	}
}
