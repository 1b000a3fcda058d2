package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

// TestMain lets the scripts run this program, and a website for it to look at, without building either.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"stepwatch": main,
		"website":   website,
		"lackbed":   lackbed,
	})
}

// names is the zone of the scripts' name server.
const names = `$TTL 60
demo.test. SOA ns.demo.test. hostmaster.demo.test. 1 3600 600 86400 60
www.demo.test. A 127.0.0.1
127.in-addr.arpa. SOA ns.demo.test. hostmaster.demo.test. 1 3600 600 86400 60
1.0.0.127.in-addr.arpa. PTR www.demo.test.
`

// website serves the demo's site, the names of its domain and SSH on the host "shell" and AMQP on "rabbit" until it is interrupted, and writes the
// configuration that leads to them.
func website() {
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	site, err := stepstest.NewWebsite(stepstest.WebsiteOptions{})
	check(err)
	defer site.Close()
	dns, err := nameserver.Start("127.0.0.1:0", names)
	check(err)
	defer dns.Close()
	shell, err := stepstest.NewSSHServer("monitor", "open sesame", func(command string, stdout, _ io.Writer) (uint32, string) {
		fmt.Fprintln(stdout, "you said", command)
		return 0, ""
	})
	check(err)
	defer shell.Close()
	_, port, err := net.SplitHostPort(shell.Address)
	check(err)
	broker, err := stepstest.NewAMQPServer(map[string]stepstest.AMQPQueue{"outgoing": {Messages: 6, Consumers: 2}}, nil)
	check(err)
	defer broker.Close()
	_, brokerPort, err := net.SplitHostPort(broker.Address)
	check(err)
	var config strings.Builder
	fmt.Fprintf(&config, "tls: {ca: [ca.pem]}\nresolver: %q\nssh: {known_hosts: [known_hosts]}\nhosts:\n  shell: {address: 127.0.0.1, ssh: {user: monitor, password: {file: shell.password}, port: %s}}\n  rabbit: {address: 127.0.0.1, amqp: {port: %s}}\nconnect_to:\n", dns.Address(), port, brokerPort)
	for from, to := range site.ConnectTo() {
		fmt.Fprintf(&config, "  %q: %q\n", from, to)
	}
	check(os.WriteFile("ca.pem", site.CA.PEM(), 0o600))
	check(os.WriteFile("shell.password", []byte("open sesame"), 0o600))
	check(os.WriteFile("known_hosts", []byte(shell.KnownHosts), 0o600))
	check(os.WriteFile("stepwatch.yml~", []byte(config.String()), 0o600))
	check(os.Rename("stepwatch.yml~", "stepwatch.yml")) // which scripts wait for
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	<-ctx.Done()
}

// TestScripts runs what a user types and compares what a user sees.
func TestScripts(t *testing.T) {
	paths := regexp.MustCompile(`evidence: /\S+/`)
	times := regexp.MustCompile(` *\d+\.\d+ (ms|s)\b|\d+\.\d+s\b`)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			root, err := filepath.Abs("../..")
			e.Setenv("ROOT", root)
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// timeless FILE takes the times, and the paths of evidence, out of what the last command wrote and puts it into FILE.
			"timeless": func(ts *testscript.TestScript, _ bool, args []string) {
				text := paths.ReplaceAllString(times.ReplaceAllString(ts.ReadFile("stdout"), " TIME"), "evidence: PATH/")
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
			},
			// await FILE waits until a program in the background has written it.
			"await": func(ts *testscript.TestScript, _ bool, args []string) {
				for range 500 {
					if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
				ts.Fatalf("%s was never written", args[0])
			},
		},
	})
}
