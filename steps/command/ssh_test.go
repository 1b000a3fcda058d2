package command_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/command"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// answer returns the commands of the SSH server of these tests.
func answer(hang <-chan struct{}) func(string, io.Writer, io.Writer) (uint32, string) {
	return func(command string, stdout, stderr io.Writer) (uint32, string) {
		switch {
		case command == "uptime":
			_, _ = io.WriteString(stdout, "load average: 0.1\n")
		case command == "fail":
			_, _ = io.WriteString(stderr, "no such thing\n")
			return 3, ""
		case command == "flood":
			for range 300 {
				_, _ = stdout.Write(make([]byte, 10<<10))
			}
		case command == "hang":
			_, _ = io.WriteString(stdout, "begun\n")
			<-hang
		case command == "drop", command == "TERM":
			return 0, command
		case strings.Contains(command, "check_"):
			_, _ = io.WriteString(stdout, "DISK WARNING - 12% free|/=88%;80;90\nran "+command+"\n")
			return 1, ""
		}
		return 0, ""
	}
}

func TestSSH(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	hang := make(chan struct{})
	server := fixture.Must(stepstest.NewSSHServer("monitor", "open sesame", answer(hang)))(t)
	t.Cleanup(func() { close(hang); _ = server.Close() })
	other := fixture.Must(stepstest.NewSSHServer("monitor", "x", answer(hang)))(t)
	t.Cleanup(func() { _ = other.Close() })

	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	known := file("known_hosts", server.KnownHosts)
	file("id", string(server.UserKey))
	file("wrong", string(other.UserKey))
	file("broken", "no key")
	forged := file("forged", strings.Replace(other.KnownHosts, other.Address[len("127.0.0.1:"):], server.Address[len("127.0.0.1:"):], 1))
	host, port, err := net.SplitHostPort(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	portNumber, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	target := func(knownHosts string) *steps.Target {
		return (&steps.Target{Hosts: map[string]*steps.Host{
			"mx1":   (&steps.Host{Name: "mx1", Address: host}).Set(&command.SSH{User: "monitor", Port: portNumber, Key: "key"}),
			"mx2":   (&steps.Host{Name: "mx2", Address: host}).Set(&command.SSH{User: "monitor", Port: portNumber, Password: "password"}),
			"wrong": (&steps.Host{Name: "wrong", Address: host}).Set(&command.SSH{User: "monitor", Port: portNumber, Key: "wrong"}),
			"none":  {Name: "none", Address: host},
		}}).Set(command.KnownHosts{knownHosts})
	}
	secrets := stepstest.Secrets{"key": strings.TrimSuffix(string(server.UserKey), "\n"), "wrong": string(other.UserKey), "password": "open sesame"}

	const login = "When I ssh to \"SERVER\" with the following credentials:\n| username | password |\n| monitor | open sesame |\n"
	for _, c := range []struct{ text, known, want string }{
		{"When I log in to \"mx1\" over SSH\nAnd I run \"uptime\"\nThen I should see \"load average\" in the output\nAnd the exit status should be 0", known, `^$`},
		{"When on \"mx2\" I run \"uptime\"\nAnd I run `echo here`\nThen the output should contain exactly \"load average: 0.1\\nhere\\n\"", known, `^$`},
		{"When on \"mx1\" I run \"fail\"\nThen the exit status should be 0", known, `^expect "fail" to end with exit status 0, got exit status 3, with the output "no such thing"$`},
		{"When on \"mx1\" I run \"TERM\"\nThen it should exit from being signaled", known, `^$`},
		{"When on \"mx1\" I run \"drop\"", known, `^run "drop" on mx1: the connection ended before the command did$`},
		{"When on \"mx1\" I run \"flood\"\nThen the output should not contain \"x\"", known, `^expect the output of "flood" to contain "x": unknown, because only the first 1024 KiB were kept$`},
		{"When on \"mx1\" I run \"hang\"", known, `^run "hang" on mx1: it did not end in time, and the server was asked to kill it after \S+; it had printed "begun"$`},
		{"When on \"none\" I run \"uptime\"", known, `^host "none" has no ssh: set hosts.none.ssh in stepwatch.yml$`},
		{"When I log in to \"wrong\" over SSH", known, `^log in to wrong over SSH as monitor: the login was refused: the server accepted none of the offered credentials \(the key SHA256:\S+\)$`},
		{"When I log in to \"mx1\" over SSH", file("empty", ""), `^log in to mx1 over SSH as monitor: the server's key is not known: compare its ssh-ed25519 key SHA256:\S+ with the server's own, then add the line that ssh-keyscan prints for \[127.0.0.1\]:\d+ to the known_hosts$`},
		{"When I log in to \"mx1\" over SSH", forged, `^log in to mx1 over SSH as monitor: the server's key has changed: its ssh-ed25519 key is SHA256:\S+, and \S+/forged:1 has SHA256:\S+: the server was reinstalled, or someone intercepts the connection$`},
		{"When I log in to \"mx1\" over SSH", dir + "/missing", `^log in to mx1 over SSH as monitor: read the known_hosts: open \S+/missing: no such file or directory$`},
		{"When on \"mx1\" I run the plugin \"check_disk -w 20% -p '/a b'\"", known, `^check_disk says WARNING: DISK WARNING - 12% free$`},

		{login + "And I run \"uptime\"\nThen I should see \"load average\" in the output", known, `^$`},
		{login + "And I run 'echo here'\nThen 'stdout' should have 'here'", known, `^$`},
		{strings.Replace(login, "open sesame", "open barley", 1), known, `^log in to SERVER over SSH as monitor: the login was refused: the server accepted none of the offered credentials \(a password\)$`},
		{"When I ssh to \"SERVER\" with the following credentials:\n| username |\n", known, `^the step needs a table below it: \| username \| secret \| and then the values$`},
		{"Given I have no public keys set\nWhen I ssh to \"SERVER\" with the following credentials:\n| username |\n| monitor |", known, `^the table has neither a secret, a password nor a keyfile to log in with$`},
		{"Then I can ssh to \"SERVER\" with the following credentials:\n| username | password |\n| monitor | open sesame |\n| monitor | open barley |", known, `^log in to SERVER over SSH as monitor: the login was refused`},
		{"Then I can ssh to the following hosts with these credentials:\n| hostname | username | secret | keyfile |\n| SERVER | monitor | password | |\n| SERVER | monitor | | id |", known, `^$`},
		{"Then I can ssh to the following hosts with these credentials:\n| username | secret |\n| monitor | password |", known, `^the table has no hostname$`},
		{"Given I have the following public keys:\n| keyfile |\n| id |\nThen I can ssh to \"SERVER\" with the following credentials:\n| username |\n| monitor |", known, `^$`},
		{"Given I have the following public keys:\n| keyfile |\n| broken |", known, `^read the key \S+/broken: this is not a private key in PEM$`},
		{"Given a SSH client user \"monitor\"\nAnd a SSH client hostname \"SERVER\"\nAnd I have the following public keys:\n| keyfile |\n| id |\nWhen I initialize password-less SSH access\nAnd I run \"uptime\"\nThen the stdout should contain \"load\"", known, `^$`},
		{"Given default ssh-forever options\nAnd a SSH client user\nAnd a SSH client hostname\nAnd the ssh-forever options:\n| user | hostname | port | identity_file |\n| monitor | 127.0.0.1 | PORT | wrong |", known, `^log in to SERVER over SSH as monitor: the login was refused`},
		{"When I initialize password-less SSH access for:\n| user | hostname | port | identity_file |\n| monitor | 127.0.0.1 | PORT | id |", known, `^$`},
	} {
		names := strings.NewReplacer("SERVER", server.Address, "PORT", port)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		outcome, err := stepstest.Scenario{Target: target(c.known), Secrets: secrets, Dir: dir}.Run(ctx, names.Replace(c.text))
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := outcome.Err(); err != nil {
			got = err.Error()
		}
		if !regexp.MustCompile(names.Replace(c.want)).MatchString(got) || outcome.Close != nil {
			t.Errorf("%s\ngot  %s\nwant %s\nleft %v", c.text, got, c.want, outcome.Close)
		}
	}
}
