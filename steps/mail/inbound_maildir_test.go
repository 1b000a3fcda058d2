package mail_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// withMaildir gives bob a Maildir instead of his other mailboxes. From then on each sent message is delivered there
// after delay, copies times.
func withMaildir(t *testing.T, bed *fixture.Mailbed, delay time.Duration, copies int) (dir string, library *steps.Library) {
	t.Helper()
	dir = t.TempDir()
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bob := bed.Target.Accounts["bob"]
	bob.IMAP, bob.POP3, bob.Maildir = "", "", dir
	if err := bed.Break(stepstest.FaultDropMail); err != nil {
		t.Fatal(err)
	}
	deliver := func(context.Context, *steps.World, steps.Args) error {
		all := bed.Deliveries()
		put := func() {
			for range copies {
				putMail(t, filepath.Join(dir, "new"), all[len(all)-1].Message)
			}
		}
		if delay == 0 {
			put()
		} else {
			time.AfterFunc(delay, put)
		}
		return nil
	}
	return dir, steps.NewLibrary(append(definitions(), steps.Definition{Area: "test", Sentence: "it is delivered", Func: deliver})...)
}

// A message above maildirLimit, here as it is set, is not judged by its beginning.
func TestMaildirMessageLimit(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	_, library := withMaildir(t, bed, 0, 1)
	const text = "When I send a message from \"alice\" to \"bob\" via 587\nit is delivered\nThen \"bob\" receives it in the Maildir within 5s\nThen it arrived unchanged"
	fixture.Passed(t, bed.RunWith(t, library, text))
	bed.Target.Set(steps.Limits{Message: 100})
	fixture.FailedAs(t, bed.RunWith(t, library, text), `too_large delivery: read the message from .*: the message has more than 100 bytes, the limit; limits\.message in stepwatch\.yml raises it`)
}

// putMail delivers like a server: into tmp, and from there into new.
func putMail(t *testing.T, dir string, message []byte) {
	file, err := os.CreateTemp(filepath.Join(filepath.Dir(dir), "tmp"), fmt.Sprintf("%d.*.host", time.Now().Unix()))
	if err == nil {
		_, err = file.Write(message)
	}
	if err == nil {
		err = file.Close()
	}
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(dir, filepath.Base(file.Name())))
	}
	if err != nil {
		t.Error(err)
	}
}

// left lists the files in a Maildir.
func left(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestMaildirPasses(t *testing.T) {
	for name, c := range map[string]struct {
		delay  time.Duration
		copies int
		step   string
	}{
		"at once":   {0, 1, `"bob" receives it in the Maildir within 3s`},
		"later":     {300 * time.Millisecond, 1, `"bob" receives it in the Maildir within 3s`},
		"twice":     {0, 2, `"bob" receives it in the Maildir within 3s`},
		"by a path": {0, 1, `it is in the Maildir "DIR" within 3s`},
	} {
		t.Run(name, func(t *testing.T) {
			bed := fixture.NewMailbed(t, stepstest.MailOptions{})
			dir, library := withMaildir(t, bed, c.delay, c.copies)
			putMail(t, filepath.Join(dir, "cur"), []byte(unrelated))
			if c.step[0] == 'i' {
				c.step = `it is in the Maildir "` + dir + `" within 3s`
			}
			outcome := bed.RunWith(t, library, `
				When I send a message from "alice" to "bob" via 587
				And it is delivered
				Then `+c.step+`
				And it is in the inbox
				And it is encrypted with OpenPGP`)
			check(t, outcome, 4, result.ReasonUnexpected, result.BlameSubmission, `.*`) // so it was read
			if took := outcome.Steps[2].Duration; took < c.delay || took > c.delay+200*time.Millisecond {
				t.Errorf("the step took %s, the delivery %s", took, c.delay)
			}
			if files := left(t, dir); len(files) != 1 || outcome.Close != nil {
				t.Errorf("left are %q, want somebody else's message; %v", files, outcome.Close)
			}
		})
	}
}

// A run removes the messages of a killed run, and those that came after the end of the run before.
func TestMaildirSweeps(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	dir, library := withMaildir(t, bed, 0, 1)
	const text = "When I send a message from \"alice\" to \"bob\" via 587\nAnd it is delivered"
	fixture.Passed(t, bed.RunWith(t, library, text))
	if files := left(t, dir); len(files) != 1 {
		t.Fatalf("left are %q", files)
	}
	fixture.Passed(t, bed.RunWith(t, library, text+"\n"+`Then "bob" receives it in the Maildir within 3s`))
	if files := left(t, dir); len(files) != 0 {
		t.Errorf("left are %q", files)
	}
}

func TestMaildirFaults(t *testing.T) {
	fixture.LeavesNothing(t)
	const text = `
		When I send a message from "alice" to "bob" via 587
		Then "bob" receives it in the Maildir within 200ms`
	missing := `remove the test mail in .*: message 1 \(Q\) had not arrived in bob's Maildir ".*" when the run ended: a later run removes it`
	for _, test := range []struct {
		name   string
		make   func(t *testing.T, bob *steps.Account)
		text   string
		step   int
		reason result.Reason
		blame  result.Blame
		want   string
		close  string
	}{
		{"lost", nil, text, 1, result.ReasonNotReceived, result.BlameQueue, `no message in bob's Maildir ".*" after 0\.[2-9]\d\ds: mail\.demo\.test:587 accepted it as Q at \S+ UTC, ` +
			`nothing else came meanwhile; looked again in 1 folder: check the mail log and the queue; submission .*`, missing},
		{"absent", func(_ *testing.T, bob *steps.Account) { bob.Maildir += "/absent" }, text, 1, result.ReasonNotReceived, result.BlameDelivery,
			`no message in bob's Maildir ".*/absent" after 0\.[2-9]\d\ds, which does not exist: mail\.demo\.test:587 accepted it as Q at \S+ UTC: is mail delivered there\? Otherwise check the mail log`, missing},
		{"no directory", func(t *testing.T, bob *steps.Account) {
			bob.Maildir += "/mbox"
			if err := os.WriteFile(bob.Maildir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, text, 1, result.ReasonConfig, result.BlameScenario, `read bob's Maildir ".*/mbox": .*not a directory: is that a Maildir, the directory above new, cur and tmp\?`, ``},
		{"closed", func(t *testing.T, bob *steps.Account) {
			if os.Geteuid() == 0 {
				t.Skip("root may read everything")
			}
			if err := os.Chmod(bob.Maildir, 0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(bob.Maildir, 0o700) }) // for the removal
		}, text, 1, result.ReasonConfig, result.BlameScenario, `read bob's Maildir ".*": .*permission denied: permit stepwatch's user to read and change it, .*`, ``},
		{"no setting", func(_ *testing.T, bob *steps.Account) { bob.Maildir = "" }, text, 1, result.ReasonConfig, result.BlameScenario,
			`account "bob" has no maildir: set accounts\.bob\.maildir in stepwatch\.yml`, ``},
		{"nothing sent", nil, `Then "bob" receives it in the Maildir within 1s`, 0, result.ReasonScenario, result.BlameScenario, `nothing was sent to "bob" before this step: .*`, ``},
		{"nothing sent at all", nil, `Then it is in the Maildir "/nowhere" within 1s`, 0, result.ReasonScenario, result.BlameScenario, `nothing was sent before this step: .*`, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
			_, library := withMaildir(t, bed, 0, 1)
			if test.make != nil {
				test.make(t, bed.Target.Accounts["bob"])
			}
			outcome := bed.RunWith(t, library, test.text)
			check(t, outcome, test.step, test.reason, test.blame, test.want)
			got := ""
			if outcome.Close != nil {
				got = outcome.Close.Error()
			}
			if !regexp.MustCompile("^(?:" + test.close + ")$").MatchString(queueID.ReplaceAllString(got, "Q")) {
				t.Errorf("left behind: %s, want %s", got, test.close)
			}
		})
	}
}

// A message that a filter filed into a folder below is named where it is, and removed.
func TestMaildirFolderBelow(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	dir, library := withMaildir(t, bed, 0, 0)
	below := filepath.Join(dir, ".Lists")
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(below, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bed.OnceAccepted(t, func() {
		all := bed.Deliveries()
		putMail(t, filepath.Join(below, "new"), all[len(all)-1].Message)
	})
	outcome := bed.RunWith(t, library, `When I send a message from "alice" to "bob" via 587
		Then "bob" receives it in the Maildir within 300ms`)
	check(t, outcome, 1, result.ReasonNotReceived, result.BlameFiltering,
		`the message is in bob's Maildir ".*", in the folder below "Lists": a filter filed it there; it was sent from alice@demo\.test and accepted by mail\.demo\.test:587`)
	if files := left(t, below); len(files) != 0 {
		t.Errorf("left are %q", files)
	}
}
