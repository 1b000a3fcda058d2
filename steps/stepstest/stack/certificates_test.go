//go:build linux

package stack_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// securePorts are the ports of a mail server that have a certificate, with the leg that each belongs to.
var securePorts = map[string]string{"25": "transfer", "465": "submission", "587": "submission", "143": "access", "993": "access", "110": "access", "995": "access", "443": "web"}

// TestCertificateFaultsOfRealServers tells the faults apart on each port, of Postfix, Dovecot and nginx.
func TestCertificateFaultsOfRealServers(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot", "nginx")
	config := filepath.Join(s.Dir, "stepwatch.yml")
	for port, blame := range securePorts {
		t.Run(port, func(t *testing.T) {
			t.Parallel()
			for host, c := range map[string]struct{ reason, kind string }{
				stack.Expired:   {"certificate_expired", "(expired)"},
				stack.WrongHost: {"certificate_host", "(wrong host)"},
				stack.UnknownCA: {"certificate_authority", "(unknown authority)"},
			} {
				step := `the certificate of "` + host + ":" + port + `" is in order for 7 days`
				if line := check(t, config, step, outcome{step, c.reason, blame}); !strings.Contains(line, c.kind) {
					t.Errorf("want %s in %s", c.kind, line)
				}
			}
			step := `the certificate of "mail:` + port + `" is in order for 60 days`
			if line := check(t, config, step, outcome{step, "certificate_soon", blame}); !strings.Contains(line, "(soon to expire)") {
				t.Error(line)
			}
		})
	}
}

// TestServedCertificate compares with the file that the servers read, and with another.
func TestServedCertificate(t *testing.T) {
	s := need(t)
	config, keys := filepath.Join(s.Dir, "stepwatch.yml"), filepath.Join(s.Dir, "keys")
	for port, blame := range securePorts {
		connect := `I connect to "mail:` + port + `"`
		passes(t, config, connect, `the certificate served equals the file "`+keys+`/good.pem"`, `the key in the file "`+keys+`/good.pem" belongs to the certificate served`,
			"its certificate is trusted", "its keys and signatures are strong", "SSL 3.0 is refused")
		if port == "25" { // as Postfix does unless it is told otherwise
			check(t, config, connect+"\nTLS 1.0 is refused", outcome{"TLS 1.0 is refused", "unexpected", blame})
		} else {
			passes(t, config, connect, "TLS 1.0 is refused", "TLS 1.1 is refused")
		}
		step := `the certificate served equals the file "` + keys + `/other.pem"`
		check(t, config, connect+"\n"+step, outcome{step, "unexpected", blame})
		step = "an OCSP response is stapled"
		check(t, config, connect+"\n"+step, outcome{step, "unexpected", blame})
	}
}

// TestFingerprintAsOpenSSL has openssl read the same certificate from the same server.
func TestFingerprintAsOpenSSL(t *testing.T) {
	s := need(t)
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl on this machine")
	}
	config := filepath.Join(s.Dir, "stepwatch.yml")
	for port, protocol := range map[string]string{"25": "smtp", "143": "imap", "110": "pop3", "443": ""} {
		out := passes(t, config, `I connect to "mail:`+port+`"`)
		m := regexp.MustCompile(`until (\S+ \S+) UTC, SHA-256 (\S+)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no fingerprint:\n%s", out)
		}
		begin := ""
		if protocol != "" {
			begin = "-starttls " + protocol
		}
		code, read := execute(t, "/bin/sh", "-c", fmt.Sprintf("%s s_client -connect 127.0.0.1:%s -servername %s %s </dev/null 2>/dev/null | %[1]s x509 -noout -fingerprint -sha256 -enddate -dateopt iso_8601", openssl, port, stack.Mail, begin))
		if code != 0 || !strings.Contains(read, "="+m[2]) || !strings.Contains(read, "notAfter="+m[1]) {
			t.Errorf("port %s: openssl reads %s, stepwatch %v", port, read, m[1:])
		}
	}
}

const blackbox = `modules:
  tls:
    prober: tcp
    tcp: {tls: true, preferred_ip_protocol: ip4, tls_config: {ca_file: %[1]q}}
  smtp:
    prober: tcp
    tcp:
      preferred_ip_protocol: ip4
      tls_config: {ca_file: %[1]q}
      query_response: [{expect: "^220"}, {send: "EHLO prober\r"}, {expect: "^250-STARTTLS"}, {send: "STARTTLS\r"}, {expect: "^220"}, {starttls: true}]
  imap:
    prober: tcp
    tcp:
      preferred_ip_protocol: ip4
      tls_config: {ca_file: %[1]q}
      query_response: [{expect: "OK"}, {send: "a STARTTLS"}, {expect: "OK"}, {starttls: true}]
`

// TestTimesAsBlackboxExporter has blackbox_exporter probe the same servers: both times are the same.
func TestTimesAsBlackboxExporter(t *testing.T) {
	s := need(t)
	needPackage(t, "prometheus-blackbox-exporter")
	const address = "127.0.0.1:9115"
	exporter := exec.Command(stack.BlackboxProgram, "--config.file="+write(t, "blackbox.yml", fmt.Sprintf(blackbox, s.Config.CA)), "--web.listen-address="+address)
	if err := exporter.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = exporter.Process.Kill()
		_ = exporter.Wait()
	}()
	eventually(t, 10*time.Second, "blackbox_exporter listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	for port, module := range map[string]string{"443": "tls", "993": "tls", "465": "tls", "25": "smtp", "143": "imap"} {
		theirs := certificateTimes(get(t, "http://"+address+"/probe?module="+module+"&target="+url.QueryEscape(stack.Mail+":"+port)))
		feature := write(t, "blackbox.feature", "@every:1s\nFeature: F\n  @timeout:5s\n  Scenario: S\n    * I connect to \"mail:"+port+"\"\n")
		ours := certificateTimes(agentMetrics(t, filepath.Join(s.Dir, "stepwatch.yml"), feature))
		for _, name := range []string{"probe_ssl_earliest_cert_expiry", "probe_ssl_last_chain_expiry_timestamp_seconds"} {
			if theirs[name] == 0 || ours[name] != theirs[name] {
				t.Errorf("port %s: %s is %f, blackbox_exporter has %f", port, name, ours[name], theirs[name])
			}
		}
	}
}

func certificateTimes(metrics string) map[string]float64 {
	times := make(map[string]float64)
	for _, m := range regexp.MustCompile(`(?m)^(?:stepwatch_)?(probe_ssl_\w+)(?:\{.*\})? (\S+)$`).FindAllStringSubmatch(metrics, -1) {
		if at, err := strconv.ParseFloat(m[2], 64); err == nil { // one page says 1798644724, the other 1.798644724e+09
			times[m[1]] = at
		}
	}
	return times
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// agentMetrics runs an agent until it has measured, and gives its /metrics.
func agentMetrics(t *testing.T, config, feature string) (metrics string) {
	t.Helper()
	const address = "127.0.0.1:9470"
	ctx, cancel := context.WithCancel(t.Context())
	agent := exec.CommandContext(ctx, stepwatch, "agent", "--config", config, "--listen", address, feature)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = agent.Wait()
	}()
	eventually(t, 10*time.Second, "the agent has measured", func() bool {
		response, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		metrics = string(body)
		return err == nil && strings.Contains(metrics, "probe_ssl_earliest_cert_expiry")
	})
	return metrics
}
