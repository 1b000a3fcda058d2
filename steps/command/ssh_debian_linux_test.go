package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/command"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// sshd starts Debian's OpenSSH server on a port of loopback. It runs in its own mount namespace, with a user "monitor"
// whose password is "open sesame". The machine itself does not change.
func sshd(t *testing.T, dir string, port int) {
	t.Helper()
	for _, program := range []string{"/usr/sbin/sshd", "/usr/bin/ssh-keygen", "/usr/bin/unshare", "/usr/bin/openssl"} {
		if _, err := os.Stat(program); err != nil {
			t.Skip("no OpenSSH server to test with: ", err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("an OpenSSH server that accepts passwords needs root")
	}
	for _, name := range []string{"host", "id"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", map[string]string{"host": "ecdsa", "id": "ed25519"}[name], "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	script := fmt.Sprintf(`set -e
cd %[1]s
mkdir home
hash=$(openssl passwd -6 'open sesame')
{ cat /etc/passwd; echo "monitor:x:65000:65000::%[1]s/home:/bin/sh"; } > passwd
{ cat /etc/shadow; echo "monitor:$hash:19000:0:99999:7:::"; } > shadow
chmod 755 . home
chown 65000 home
mount --bind passwd /etc/passwd
mount --bind shadow /etc/shadow
mount -t tmpfs none /run
mkdir /run/sshd
exec /usr/sbin/sshd -D -e -f /dev/null -h %[1]s/host -p %[2]d -o ListenAddress=127.0.0.1 -o PidFile=none \
  -o UsePAM=no -o PasswordAuthentication=yes -o KbdInteractiveAuthentication=no -o StrictModes=no -o AuthorizedKeysFile=%[1]s/id.pub
`, dir, port)
	var said bytes.Buffer
	server := exec.Command("unshare", "--mount", "sh", "-c", script)
	server.Stdout, server.Stderr = &said, &said
	if err := server.Start(); err != nil {
		t.Skip("no mount namespace of its own: ", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() {
		_ = server.Process.Signal(os.Interrupt)
		<-ended
		if t.Failed() {
			t.Logf("sshd said: %s", &said)
		}
	})
	for range 500 {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(port), time.Second)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			if strings.Contains(said.String(), "Operation not permitted") || strings.Contains(said.String(), "permission denied") {
				t.Skipf("no mount namespace of its own: %s", &said)
			}
			t.Fatalf("sshd ended: %v: %s", err, &said)
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("sshd does not listen")
}

// TestDebianSSH logs in to a real OpenSSH server, by key and by password.
func TestDebianSSH(t *testing.T) {
	dir, err := os.MkdirTemp("", "sshd") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := fixture.ClosedPort(t)
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	sshd(t, dir, port)
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	known := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(known, []byte("[127.0.0.1]:"+text+" "+read("host.pub")), 0o600); err != nil {
		t.Fatal(err)
	}
	target := (&steps.Target{Hosts: map[string]*steps.Host{
		"mx1": (&steps.Host{Name: "mx1", Address: "127.0.0.1"}).Set(&command.SSH{User: "monitor", Port: port, Key: "key"}),
		"mx2": (&steps.Host{Name: "mx2", Address: "127.0.0.1"}).Set(&command.SSH{User: "monitor", Port: port, Password: "password"}),
	}}).Set(command.KnownHosts{known})
	scenario := stepstest.Scenario{Target: target, Dir: dir, Secrets: stepstest.Secrets{"key": read("id"), "password": "open sesame"}}
	judgeStrays(t, scenario, dir)
	for text, want := range map[string]string{
		"When on \"mx1\" I run \"id -un; echo trouble >&2; exit 3\"\nThen the stdout should contain exactly \"monitor\\n\"\nAnd the stderr should contain \"trouble\"\nAnd the exit status should be 3": "",
		"When I log in to \"mx2\" over SSH\nAnd I run \"echo $HOME | wc -l\"\nThen I should see \"1\" in the output":                                                                                    "",
		"When on \"mx1\" I run \"kill -TERM $$\"\nThen it should exit from being signaled":                                                                                                              "",
		"When I ssh to \"SERVER\" with the following credentials:\n| username | password |\n| monitor | open sesame |\nAnd I run \"whoami\"\nThen I should see \"^monitor$\" in the output":             "",
		"Then I can ssh to \"SERVER\" with the following credentials:\n| username | keyfile |\n| monitor | id |":                                                                                        "",
		"When I ssh to \"SERVER\" with the following credentials:\n| username | password |\n| monitor | wrong |":                                                                                        "log in to SERVER over SSH as monitor: the login was refused: the server accepted none of the offered credentials (a password)",
		"When on \"mx1\" I run the plugin \"check_dummy 1 'a |b=5s;4;9'\"":                                                                                                                              "check_dummy says WARNING: WARNING: a",
		"When on \"mx1\" I run the plugin \"check_no_such\"":                                                                                                                                            "check_no_such returned exit code 127: a shell could not run a program: it printed nothing except on stderr: \"/bin/sh: 1: check_no_such: not found\"",
	} {
		if strings.Contains(text, "check_dummy") {
			if _, err := os.Stat("/usr/lib/nagios/plugins/check_dummy"); err != nil {
				continue
			}
		}
		outcome, err := scenario.Run(t.Context(), strings.ReplaceAll(text, "SERVER", address))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := outcome.Err(); err != nil {
			got = err.Error()
		}
		if got != strings.ReplaceAll(want, "SERVER", address) || outcome.Close != nil {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
		if strings.Contains(text, "check_dummy 1") {
			if m := outcome.Steps[0].Report.Measurements; len(m) < 2 || m[1].Name != "plugin_perfdata_seconds" || m[1].Value != 5 {
				t.Errorf("measurements: %+v", m)
			}
		}
	}
}

// judgeStrays runs plugins on mx1 that leave processes behind, and checks that all of these end.
func judgeStrays(t *testing.T, scenario stepstest.Scenario, dir string) {
	t.Helper()
	pids := filepath.Join(dir, "home", "pids")
	for name, body := range map[string]string{
		"hangs": "trap '' TERM; sleep 71 & echo $$ $! > pids; (setsid sh -c 'echo $$ >> pids; exec sleep 72' &); echo waiting; sleep 73",
		"forks": "sleep 74 & echo $! > pids; echo OK",
		"sets":  "setsid sh -c 'echo $$ > pids; exec sleep 75' >/dev/null 2>&1 & while [ ! -s pids ]; do sleep 0.01; done; echo OK",
	} {
		if err := errors.Join(os.RemoveAll(pids), os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		outcome, err := scenario.Run(ctx, `When on "mx1" I run the plugin "`+filepath.Join(dir, name)+`"`)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		want := "^$"
		if name == "hangs" {
			want = `^run hangs on mx1: it did not end in time, and the server was asked to kill it after \S+; it had printed "waiting"$`
		}
		got := ""
		if err := outcome.Err(); err != nil {
			got = err.Error()
		}
		if !regexp.MustCompile(want).MatchString(got) || outcome.Close != nil {
			t.Errorf("%s: got %q, left %v", name, got, outcome.Close)
		}
		text, err := os.ReadFile(pids)
		if err != nil {
			t.Fatal(err)
		}
		if name == "hangs" && len(strings.Fields(string(text))) != 3 {
			t.Errorf("%s: got processes %q, want three", name, text)
		}
		for _, pid := range strings.Fields(string(text)) {
			if !gone(pid) {
				t.Errorf("%s: the process %s still runs", name, pid)
			}
		}
	}
}

// gone waits until a process has ended, or is a zombie that its new parent has not reaped yet.
func gone(pid string) bool {
	for range 500 {
		stat, _ := os.ReadFile("/proc/" + pid + "/stat") // it does not exist after the process has ended
		if len(stat) == 0 || bytes.Contains(stat, []byte(") Z ")) {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}
