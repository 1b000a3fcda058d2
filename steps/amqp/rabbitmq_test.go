//go:build linux

package amqp_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/service"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// rabbitMQ starts a broker as the user of its package. It returns its ports without and with TLS. Erlang needs some
// seconds for that.
func rabbitMQ(t *testing.T, certificate tls.Certificate) (port, secure string) {
	t.Helper()
	const program = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	owner, err := user.Lookup("rabbitmq")
	if _, absent := os.Stat(program); err != nil || absent != nil || os.Geteuid() != 0 {
		t.Skip("needs root and the Debian package rabbitmq-server: run .ci/install")
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	dir, err := os.MkdirTemp("", "stepwatch-rabbitmq-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	port, secure = freePort(t), freePort(t)
	names, distribution := freePort(t), freePort(t)
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	config := "listeners.ssl.1 = 127.0.0.1:" + secure + "\nssl_options.certfile = " + dir + "/pem\nssl_options.keyfile = " + dir + "/pem\n"
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "pem"), both, 0o644), os.WriteFile(filepath.Join(dir, "rabbitmq.conf"), []byte(config), 0o644), os.WriteFile(filepath.Join(dir, "plugins"), []byte("[].\n"), 0o644), os.Chmod(dir, 0o755), os.Chown(dir, uid, gid)); err != nil {
		t.Fatal(err)
	}
	start := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8", "RABBITMQ_NODENAME=stepwatch" + port + "@localhost", "RABBITMQ_NODE_PORT=" + port,
			"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "RABBITMQ_MNESIA_BASE=" + dir, "RABBITMQ_LOG_BASE=" + dir, "RABBITMQ_CONFIG_FILE=" + dir + "/rabbitmq",
			"RABBITMQ_ENABLED_PLUGINS_FILE=" + dir + "/plugins", "RABBITMQ_DIST_PORT=" + distribution, "RABBITMQ_PID_FILE=" + dir + "/pid", "ERL_EPMD_PORT=" + names, "ERL_EPMD_ADDRESS=127.0.0.1"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		})
	}
	start("epmd", "-port", names, "-address", "127.0.0.1") // Erlang would leave one behind
	start(program)
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			if conn, err := net.Dial("tcp", "127.0.0.1:"+secure); err == nil {
				conn.Close()
				return port, secure
			}
		}
	}
	said, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, path := range said {
		text, _ := os.ReadFile(path)
		t.Logf("%s", text)
	}
	t.Fatal("RabbitMQ does not come up")
	return "", ""
}

// TestRabbitMQ asks a real broker, with the sentences of cucumber-nagios and the plain ones.
func TestRabbitMQ(t *testing.T) {
	ca, err := stepstest.NewCA("RabbitMQ's")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	port, secure := rabbitMQ(t, certificate)
	c, err := amqp091.Dial("amqp://guest:guest@127.0.0.1:" + port + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"outgoing", "mail.idle"} {
		if _, err := ch.QueueDeclare(q, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		d, err := ch.PublishWithDeferredConfirm("", "mail.idle", false, false, amqp091.Publishing{Body: []byte("x")})
		if err != nil || !d.Wait() {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := ch.Consume("outgoing", "", false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	host := func(b service.Broker) *steps.Host { return (&steps.Host{Address: "127.0.0.1"}).Set(&b) }
	to := &steps.Target{Roots: ca.Roots, Hosts: map[string]*steps.Host{"broker": host(service.Broker{Port: port}), "wrong": host(service.Broker{Port: port, Password: "wrong"}),
		"vhost": host(service.Broker{Port: port, Vhost: "none"}), "closed": host(service.Broker{Port: "1"}),
		"secure": host(service.Broker{Port: secure, TLS: true}), "plain": host(service.Broker{Port: port, TLS: true}), "bare": host(service.Broker{Port: secure}),
		"name": (&steps.Host{Address: "127.0.0.2"}).Set(&service.Broker{Port: secure, TLS: true})}, ConnectTo: map[string]string{"127.0.0.2:" + secure: "127.0.0.1:" + secure}}
	const (
		old  = "Given I have a AMQP server on broker\nAnd I want to check on the outgoing queue\n"
		idle = "When I look at the AMQP queue \"mail.idle\" of \"broker\"\n"
	)
	for text, want := range map[string]string{
		old + "Then it should have less than 1 messages\nAnd it should have at least 0 messages\nAnd it should have less than 5 messages per consumer\nAnd It should have 2 consumers\n" +
			"And It should have more than 1 consumers\nAnd It should have less than 3 consumers\nAnd it should have at least 2 consumers": "",
		old + "Then it should have more than 0 messages":              `the queue "outgoing" of "broker" has 0 messages, wanted more than 0 (unexpected, target)`,
		old + "Then it should have at least 1 messages":               `the queue "outgoing" of "broker" has 0 messages, wanted at least 1 (unexpected, target)`,
		old + "Then it should have less than 0 messages":              `the queue "outgoing" of "broker" has 0 messages, wanted fewer than 0 (unexpected, target)`,
		old + "Then it should have less than 0 messages per consumer": `the queue "outgoing" of "broker" has 0.0 messages per consumer (0 for 2), wanted fewer than 0 (unexpected, target)`,
		old + "Then It should have more than 2 consumers":             `the queue "outgoing" of "broker" has 2 consumers, wanted more than 2 (unexpected, target)`,
		old + "Then It should have less than 2 consumers":             `the queue "outgoing" of "broker" has 2 consumers, wanted fewer than 2 (unexpected, target)`,
		old + "Then It should have 1 consumers":                       `the queue "outgoing" of "broker" has 2 consumers, wanted exactly 1 (unexpected, target)`,
		old + "Then it should have at least 3 consumers":              `the queue "outgoing" of "broker" has 2 consumers, wanted at least 3 (unexpected, target)`,
		idle + "Then the queue has fewer than 7 messages\nAnd the queue has at least 6 messages\nAnd the queue has at most 0 consumers": "",
		idle + "Then the queue has fewer than 6 messages":                                                                                  `the queue "mail.idle" of "broker" has 6 messages, wanted fewer than 6 (unexpected, target)`,
		idle + "Then the queue has at least 1 consumers":                                                                                   `the queue "mail.idle" of "broker" has 0 consumers, wanted at least 1 (unexpected, target)`,
		idle + "Then the queue has fewer than 9 messages per consumer":                                                                     `the queue "mail.idle" of "broker" has 6 messages and no consumer, wanted fewer than 9 messages per consumer: check that the consumers run (unexpected, target)`,
		`When I look at the AMQP queue "none" of "broker"`:                                                                                 `look at the AMQP queue "none" of "broker": there is no such queue: NOT_FOUND - no queue 'none' in vhost '/' (404) (not_found, target)`,
		`When I look at the AMQP queue "outgoing" of "wrong"`:                                                                              `look at the AMQP queue "outgoing" of "wrong" as "guest": the login was refused: ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile. (403): set hosts.NAME.amqp in stepwatch.yml; guest may log in only on the broker's own machine (auth, target)`,
		`When I look at the AMQP queue "outgoing" of "vhost"`:                                                                              `look at the AMQP queue "outgoing" of "vhost" in the virtual host "none": there is no such virtual host, or the user may not use it: NOT_ALLOWED - vhost none not found (530) (not_found, target)`,
		`When I look at the AMQP queue "outgoing" of "closed"`:                                                                             `connect to 127.0.0.1:1: connection refused: nothing listens on that port (connect, target)`,
		`When I look at the AMQP queue "outgoing" of "secure"` + "\nThen the queue has at least 2 consumers":                               "",
		`When I look at the AMQP queue "outgoing" of "name"`:                                                                               `TLS handshake with 127.0.0.2: x509: certificate is valid for 127.0.0.1, not 127.0.0.2 (certificate_host, target)`,
		`When I look at the AMQP queue "outgoing" of "plain"`:                                                                              `TLS handshake with 127.0.0.1: the server's answer is not TLS (tls, target)`,
		`When I look at the AMQP queue "outgoing" of "bare"`:                                                                               `look at the AMQP queue "outgoing" of "bare": it does not speak AMQP 0-9-1: it answers with TLS: check the port, and whether it is one with TLS (tls: true under hosts.NAME.amqp) (protocol, target)`,
		"Given I have a AMQP server on 127.0.0.1:" + port + "\nAnd I want to check on the outgoing queue\nThen It should have 2 consumers": "",
	} {
		outcome, err := stepstest.Scenario{Target: to, Secrets: stepstest.Secrets{"wrong": "abracadabra"}}.Run(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if failure := (*steps.Failure)(nil); errors.As(outcome.Err(), &failure) {
			got = fmt.Sprintf("%v (%s, %s)", failure, failure.Reason, failure.Blame)
		}
		if got != want || strings.Contains(got, "abracadabra") {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
}
