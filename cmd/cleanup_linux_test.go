package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// TestMailOfAStoppedRun holds that a run that is stopped after it sent mail removes that mail, also when the signal is SIGKILL
// for the process that the user sees.
func TestMailOfAStoppedRun(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"run"}, {"check"}, {"agent", "--listen", "127.0.0.1:0"}} {
		for _, how := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
			if args[0] == "agent" && how == syscall.SIGHUP {
				continue // it reloads
			}
			t.Run(args[0]+" "+how.String(), func(t *testing.T) {
				t.Parallel()
				ca, err := stepstest.NewCA("test root")
				if err != nil {
					t.Fatal(err)
				}
				mail, err := stepstest.NewMailServer(stepstest.MailOptions{Domain: "demo.test", CA: ca, Users: map[string]string{"alice": "a", "bob": "b"}})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = mail.Close() })
				dir := t.TempDir()
				config := "state: " + filepath.Join(dir, "state") + "\ntls: {ca: [ca.pem]}\nconnect_to:\n"
				for from, to := range mail.ConnectTo() {
					config += fmt.Sprintf("  %q: %q\n", from, to)
				}
				config += "accounts:\n"
				for _, name := range []string{"alice", "bob"} {
					config += fmt.Sprintf("  %[1]s: {address: %[1]s@demo.test, password: {file: %[1]s}, smtp: %[2]s, imap: %[2]s}\n", name, mail.Host())
				}
				feature := "@every:1s @timeout:40s\nFeature: Mail\n  Scenario: One\n    Given the accounts \"alice\" and \"bob\"\n" +
					"    When I send a message from \"alice\" to \"bob\" via 587\n    Then it is accepted within 5s\n    And \"bob\" receives it over IMAP within 60s\n" +
					"    When I run `touch " + filepath.Join(dir, "began") + "; sleep 30`\n"
				for name, text := range map[string]string{"stepwatch.yml": config, "mail.feature": feature, "ca.pem": string(ca.PEM()), "alice": "a", "bob": "b"} {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				cmd := own(t, append(args, "mail.feature")...)
				cmd.Args[0], cmd.Dir = "stepwatch", dir
				out := begin(t, cmd)
				until(t, "the mail", func() bool {
					_, err := os.Lstat(filepath.Join(dir, "began"))
					return err == nil && mail.Mailbox("bob") == 1
				})
				_ = cmd.Process.Signal(how)
				ended(t, cmd, 15*time.Second)
				until(t, "the removal of the mail", func() bool { return mail.Mailbox("bob") == 0 })
				if strings.Contains(out.String(), "left behind") || strings.Contains(out.String(), "clean-up incomplete") {
					t.Errorf("it says that something is left:\n%s", out)
				}
			})
		}
	}
}

// TestSecondSignal holds that a second signal ends the program at once, and that it then says what was not cleaned up.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"run"}, {"agent", "--listen", "127.0.0.1:0"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			began := filepath.Join(t.TempDir(), "began")
			cmd := own(t, append(args, ending(t, "writing "+began))...)
			out := begin(t, cmd)
			until(t, "the step", func() bool { _, err := os.Lstat(began); return err == nil })
			_ = cmd.Process.Signal(syscall.SIGTERM)
			time.Sleep(2 * sameSignal)
			_ = cmd.Process.Signal(syscall.SIGTERM)
			want := `stepwatch: ended at once by a second signal; not cleaned up: the run of "End: One"; the next run of a scenario removes its test mail`
			if args[0] == "agent" {
				want = "stepwatch: ended at once by a second signal; not cleaned up: 1 run; the next run of a scenario removes its test mail"
			}
			if code := ended(t, cmd, 10*time.Second); code != 143 || !strings.Contains(out.String(), want+"\n") {
				t.Errorf("exit code %d, want 143 and %s in\n%s", code, want, out)
			}
		})
	}
}

// TestSecondSignalOfACheck holds that a check has a status line even then.
func TestSecondSignalOfACheck(t *testing.T) {
	t.Parallel()
	began := filepath.Join(t.TempDir(), "began")
	cmd := own(t, "check", ending(t, "writing "+began))
	out := begin(t, cmd)
	until(t, "the step", func() bool { _, err := os.Lstat(began); return err == nil })
	_ = cmd.Process.Signal(syscall.SIGTERM)
	time.Sleep(2 * sameSignal)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if code := ended(t, cmd, 10*time.Second); code != 3 || !strings.Contains(out.String(), "STEPWATCH UNKNOWN - stepwatch was ended by a second signal before it had an answer\n") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
