package agent_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/jobreport"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
	"github.com/stepwatch/stepwatch/steps/timeserver"
)

var update = flag.Bool("update", false, "rewrite docs/failures.md from the observed failures")

// scene has all servers that faults affect, in one process.
type scene struct {
	dir    string
	ca     *stepstest.CA
	mail   *stepstest.MailServer
	web    *stepstest.Website
	names  *nameserver.Server
	target *steps.Target
	runner *agent.Runner
	times  *stepstest.TimeServer // nil unless a fault needs one
	files  *syscall.Rlimit       // before limitFiles; nil if it was not called
	stuck  chan struct{}         // closed to end the step that ignores its deadline
}

func newScene(t *testing.T) *scene {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := &scene{stuck: make(chan struct{}), dir: t.TempDir()}
	var err error
	s.ca, err = stepstest.NewCA("Test Root")
	must(err)
	s.mail, err = stepstest.NewMailServer(stepstest.MailOptions{Domain: "demo.test", CA: s.ca, Users: map[string]string{"alice": "wonderland", "bob": "builder"}})
	must(err)
	s.web, err = stepstest.NewWebsite(stepstest.WebsiteOptions{CA: s.ca})
	must(err)
	s.names, err = nameserver.Start("127.0.0.1:0", "test. 60 IN SOA ns.test. admin.test. 1 60 60 60 60\ndemo.test. 60 IN SOA ns.demo.test. admin.demo.test. 1 60 60 60 60\n")
	must(err)
	s.target = &steps.Target{Roots: s.ca.Roots, ConnectTo: maps.Clone(s.mail.ConnectTo()), Resolver: s.names.Address(), Accounts: map[string]*steps.Account{}}
	maps.Copy(s.target.ConnectTo, s.web.ConnectTo())
	for _, name := range []string{"alice", "bob"} {
		s.target.Accounts[name] = &steps.Account{Name: name, Address: name + "@demo.test", Username: name + "@demo.test", Password: name,
			SMTP: "mail.demo.test", IMAP: "mail.demo.test"}
	}
	mallory := *s.target.Accounts["alice"]
	mallory.Name, mallory.Password = "mallory", "wrong"
	s.target.Accounts["mallory"] = &mallory
	s.runner = &agent.Runner{Target: s.target, Secrets: stepstest.Secrets{"alice": "wonderland", "bob": "builder", "wrong": "hunter2"},
		Name: "test", Grace: 50 * time.Millisecond, CleanupTimeout: 2 * time.Second}
	return s
}

func (s *scene) close(t *testing.T) {
	t.Helper()
	if s.times != nil {
		defer s.times.Close()
	}
	for _, err := range []error{s.mail.Close(), s.web.Close(), s.names.Close()} {
		if err != nil {
			t.Error(err)
		}
	}
}

// plan compiles one scenario.
func (s *scene) plan(t *testing.T, timeout time.Duration, lines string) *agent.Plan {
	t.Helper()
	path := filepath.Join(s.dir, "fault.feature") // the same for all runs, so that one knows what another left behind
	if err := os.WriteFile(path, []byte("Feature: Faults\nScenario: One\n"+lines), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := features.Load([]string{path}, features.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var definitions []steps.Definition
	for _, d := range builtin.Library().Definitions() {
		definitions = append(definitions, steps.Definition{Area: d.Area, Sentence: d.Sentence, Pattern: d.Pattern, Does: d.Does, Example: d.Example, Table: d.Table, DocString: d.DocString,
			Waits: d.Waits, Func: d.Func, Prepare: d.Prepare})
	}
	definitions = append(definitions,
		steps.Definition{Sentence: "a step has a defect", Func: func(_ context.Context, _ *steps.World, a steps.Args) error {
			_ = a.Captured[0] // the sentence catches nothing
			return nil
		}},
		steps.Definition{Sentence: "no file descriptor is free", Func: func(context.Context, *steps.World, steps.Args) error { return s.limitFiles(3) }},
		steps.Definition{Sentence: "a step ignores its deadline", Func: func(context.Context, *steps.World, steps.Args) error {
			<-s.stuck
			return nil
		}})
	p := agent.NewPlan(set.Scenarios()[0], steps.NewLibrary(definitions...), agent.Defaults{Timeout: time.Minute})
	p.Timeout = timeout
	return p
}

const (
	roundTrip = `When I send a message from "alice" to "bob" via 587
Then "bob" receives it over IMAP within 300ms
`
	received = `When I send a message from "alice" to "bob" via 587
Then "bob" receives it over IMAP within 5s
`
	visit = `When I go to "https://www.demo.test/"
Then I should see "Welcome"
`
)

// TestFaults breaks the watched system in each way that an operator meets, and compares the messages with
// docs/failures.md. Each run must end in time. Afterwards nothing may be left behind and the repaired system must pass.
func TestFaults(t *testing.T) {
	breakMail := func(faults ...stepstest.Fault) func(*scene) error {
		return func(s *scene) error { return s.mail.Break(faults...) }
	}
	breakWeb := func(fault stepstest.WebFault) func(*scene) error {
		return func(s *scene) error { s.web.SetBroken(fault); return nil }
	}
	var page bytes.Buffer
	page.WriteString(failuresHead)
	for _, fault := range []struct {
		title  string
		make   func(*scene) error
		lines  string
		mended string // lines that must pass afterwards; empty for the same lines
	}{
		{"Wrong password", nil, strings.ReplaceAll(roundTrip, `from "alice"`, `from "mallory"`), roundTrip},
		{"Port closed", func(s *scene) error { s.target.ConnectTo["mail.demo.test:587"] = "127.0.0.1:1"; return nil }, roundTrip, ""},
		{"The name does not resolve", nil, "When I go to \"https://gone.demo.test/\"\n", visit},
		{"The DNS server fails", func(s *scene) error { s.names.Refuse(dns.RcodeServerFailure); return nil }, "When I go to \"https://other.demo.test/\"\n", visit},
		{"Certificate expired", breakMail(stepstest.FaultCertExpired), roundTrip, ""},
		{"Certificate for another name", breakMail(stepstest.FaultCertWrongHost), roundTrip, ""},
		{"Certificate from an unknown authority", breakMail(stepstest.FaultCertUnknownCA), roundTrip, ""},
		{"Server silent after the greeting", breakMail(stepstest.FaultSMTPSilent), roundTrip, ""},
		{"Connection dropped in DATA", breakMail(stepstest.FaultDropInData), roundTrip, ""},
		{"Greylisting", breakMail(stepstest.FaultGreylist), roundTrip, ""},
		{"Recipient refused", breakMail(stepstest.FaultRejectRecipient), roundTrip, ""},
		{"Message refused", breakMail(stepstest.FaultRejectMessage), roundTrip, ""},
		{"Connection dropped after the message", breakMail(stepstest.FaultDropAfterDot), roundTrip, ""},
		{"Access token refused", func(s *scene) error { s.target.Accounts["mallory"].Token = true; return nil }, strings.ReplaceAll(roundTrip, `from "alice"`, `from "mallory"`), roundTrip},
		{"MX host with a certificate for another name, where TLS must be verified", func(s *scene) error {
			s.target.ConnectTo["demo.test:25"] = s.target.ConnectTo["mail.demo.test:25"]
			return nil
		}, "When I send a message from \"alice\" directly to the MX of \"bob\" with verified TLS\n", roundTrip},
		{"Open relay", breakMail(stepstest.FaultOpenRelay),
			"When I try to send from \"x@elsewhere.test\" to \"y@elsewhere.test\" via \"mail.demo.test:25\"\nThen it is refused\n", ""},
		{"Forged sender accepted", breakMail(stepstest.FaultForgedSender), "When I try to send a message from \"alice\" as \"bob@demo.test\" to \"bob\" via 587\nThen it is refused\n", ""},
		{"Any password is right", breakMail(stepstest.FaultAnyPassword), "When I try to log in as \"alice\" with a wrong password via 587\nThen it is refused at AUTH\n", ""},
		{"A gateway alters the text", breakMail(stepstest.FaultFooter), roundTrip + "And its text arrived unchanged\n", ""},
		{"A filter takes an attachment away", breakMail(stepstest.FaultRename), "Given the message has the attachment \"invoice.txt\"\n\"\"\"\nhello\n\"\"\"\n" + roundTrip +
			"And its attachment \"invoice.txt\" arrived unchanged\n", ""},
		{"A file to attach is missing", nil, "Given the message has the attachment \"absent.pdf\"\n" + roundTrip, roundTrip},
		{"Mail never arrives", breakMail(stepstest.FaultDropMail), roundTrip, ""},
		{"Mail arrives late", func(s *scene) error { s.mail.SetDelay(600 * time.Millisecond); return nil }, roundTrip, ""},
		{"Mail comes back", breakMail(stepstest.FaultBounce), roundTrip, ""},
		{"Mail is not signed", nil, received + "And it passes DKIM\n", received},
		{"The domain has no DMARC record", nil, received + "And it passes DMARC\n", received},
		{"The receiving server has no verdict", nil, received + "And the receiving server says \"dkim=pass\"\n", received},
		{"Mail comes back", breakMail(stepstest.FaultBounce), roundTrip, ""},
		{"Mail arrives twice", breakMail(stepstest.FaultDuplicate), roundTrip + "And it arrived once\n", ""},
		{"A filter files the mail", breakMail(stepstest.FaultFile), roundTrip, ""},
		{"Mail that others send is missing", nil, "Then \"bob\" has received a message like this in the last 26 hours\n| Subject | backup: ok |\n", roundTrip},
		{"IMAP server says BYE", breakMail(stepstest.FaultIMAPBye), roundTrip, ""},
		{"IMAP server silent", breakMail(stepstest.FaultIMAPSilent), roundTrip, ""},
		{"Web server answers 500", breakWeb(stepstest.Status500), visit, ""},
		{"Redirect loop", breakWeb(stepstest.RedirectLoop), visit, ""},
		{"Body without end", breakWeb(stepstest.EndlessBody), visit, ""},
		{"Web server silent", breakWeb(stepstest.Silent), visit, ""},
		{"The text is not there", nil, "When I go to \"https://www.demo.test/\"\nThen I should see \"Bargains\"\n", visit},
		{"A job does not report", func(s *scene) error {
			return s.keep(func(r *jobreport.Record, now time.Time) {
				r.AddEnd(now.Add(-27*time.Hour), "", 0, "", false)
				r.AddEnd(now.Add(-3*time.Hour), "", 2, "dumping\nno space left on device", false)
			})
		}, "Then the job \"backup\" reported success in the last 26 hours\n", visit},
		{"A job has never reported", func(s *scene) error { return s.keep(func(*jobreport.Record, time.Time) {}) }, "Then the job \"backup\" reported success in the last 26 hours\n", visit},
		{"A job was added", func(s *scene) error {
			return s.keep(func(r *jobreport.Record, now time.Time) { r.Since = now.Add(-time.Hour) })
		}, "Then the job \"backup\" reported success in the last 26 hours\n", visit},
		{"A job failed", func(s *scene) error {
			return s.keep(func(r *jobreport.Record, now time.Time) {
				r.AddEnd(now.Add(-3*time.Hour), "", 2, "no space left on device", false)
			})
		}, "Then the last run of the job \"backup\" succeeded\n", visit},
		{"A job hangs", func(s *scene) error {
			return s.keep(func(r *jobreport.Record, now time.Time) { r.AddStart(now.Add(-5*time.Hour), "") })
		}, "Then the job \"backup\" took at most 2 hours\n", visit},
		{"No agent waits for a job", func(s *scene) error {
			s.target.Set(jobreport.Jobs{"backup": {}})
			s.target.StateDir = "/var/lib/stepwatch"
			return nil
		}, "Then the last run of the job \"backup\" succeeded\n", visit},
		{"The clock of this machine is wrong", func(s *scene) error { return s.tell(20 * time.Minute) }, "Then the clock of this machine is within 1s of \"ntp.demo.test\"\n", visit},
		{"The time server does not know the time", func(s *scene) error { return s.tell(-1) }, "Then the clock of this machine is within 1s of \"ntp.demo.test\"\n", visit},
		{"A certificate has expired by a clock that is wrong", func(s *scene) error {
			s.target.Set(timeserver.Reference("ntp.demo.test"))
			return errors.Join(s.tell(-2*time.Hour), s.mail.Break(stepstest.FaultCertExpired))
		}, roundTrip, ""},
		{"No file descriptor is free", nil, "Given no file descriptor is free\n" + visit, visit},
		{"A step panics", nil, "When a step has a defect\n", visit},
		{"A step ignores its deadline", nil, "When a step ignores its deadline\n", visit},
	} {
		t.Run(fault.title, func(t *testing.T) {
			s := newScene(t)
			defer s.close(t)
			if fault.make != nil {
				if err := fault.make(s); err != nil {
					t.Fatal(err)
				}
			}
			leaks := goleak.IgnoreCurrent()
			const timeout, spare = 2 * time.Second, 4 * time.Second
			p := s.plan(t, timeout, fault.lines)
			start := time.Now()
			r := s.runner.Run(context.Background(), p, agent.Occasion{})
			if took := time.Since(start); took > timeout+spare {
				t.Errorf("the run took %s", took)
			}
			failing, found := r.Failing()
			if !found || failing.Reason == "" || failing.Blame == "" || failing.Error == "" {
				t.Fatalf("the run does not name what failed: %+v", r)
			}
			fmt.Fprintf(&page, "\n## %s\n\n```\n%s %s\n```\n\n> %s\n\n%s, reason `%s`, blame `%s`\n", fault.title, failing.Keyword, failing.Text,
				stable(failing.Error), r.State(), failing.Reason, failing.Blame)
			close(s.stuck)
			if err := s.mend(); err != nil {
				t.Fatal(err)
			}
			lines := fault.mended
			if lines == "" {
				lines = fault.lines
			}
			s.waitForLateMail(t)
			if r := s.runner.Run(context.Background(), s.plan(t, 10*time.Second, strings.ReplaceAll(lines, "300ms", "5s")), agent.Occasion{}); r.State() != result.OK || r.Cleanup != "" {
				t.Errorf("mended: %s (left behind: %s)", r.Summary(), r.Cleanup)
			}
			for _, user := range []string{"alice", "bob"} {
				if n := s.mail.Mailbox(user); n != 0 {
					t.Errorf("%s has %d messages left", user, n)
				}
			}
			if n := s.runner.Abandoned(); n != 0 {
				t.Errorf("%d steps are abandoned", n)
			}
			goleak.VerifyNone(t, leaks)
		})
	}
	golden(t, "../docs/failures.md", page.Bytes())
}

// keep writes the record of the job "backup", which stepwatch has waited for since ten days ago.
func (s *scene) keep(change func(r *jobreport.Record, now time.Time)) error {
	s.target.Set(jobreport.Jobs{"backup": {}})
	s.target.StateDir = filepath.Join(s.dir, "state")
	store, err := jobreport.Open(s.target.StateDir)
	if err != nil {
		return err
	}
	now := time.Now()
	r := jobreport.New("backup", now.Add(-240*time.Hour))
	change(r, now)
	return errors.Join(store.Begin(now), store.Save(r), store.Close())
}

// tell starts a time server whose clock is wrong by so much; -1 is one that does not know the time.
func (s *scene) tell(shift time.Duration) (err error) {
	s.times, err = stepstest.NewTimeServer(func(_ int, r *stepstest.TimeReply) bool {
		if shift == -1 {
			r.Leap = 3
		} else {
			r.Shift(shift)
		}
		return true
	})
	if err == nil {
		s.target.ConnectTo["ntp.demo.test:123"] = s.times.Address()
	}
	return err
}

// mend restores everything to its state before the fault.
func (s *scene) mend() error {
	s.web.SetBroken(stepstest.Healthy)
	s.mail.SetDelay(0)
	s.names.Refuse(dns.RcodeSuccess)
	if s.files != nil {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, s.files); err != nil {
			return err
		}
	}
	maps.Copy(s.target.ConnectTo, s.mail.ConnectTo())
	return s.mail.Break()
}

// limitFiles lets this process open no file beyond the first ones. Those that are open stay so.
func (s *scene) limitFiles(most uint64) error {
	s.files = new(syscall.Rlimit)
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, s.files); err != nil {
		return err
	}
	few := *s.files
	few.Cur = most
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few)
}

// waitForLateMail waits until delayed mail has been delivered.
func (s *scene) waitForLateMail(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for _, d := range s.mail.Deliveries() {
		for s.mail.Mailbox("bob") == 0 && d.Stored.IsZero() && time.Since(d.Accepted) < time.Second {
			if time.Now().After(deadline) {
				t.Fatal("the held mail was never delivered")
			}
			time.Sleep(time.Millisecond)
		}
	}
}

const failuresHead = `# What stepwatch says when something fails

A test generates this page (` + "`go test ./agent -run TestFaults -update`" + `). It breaks each thing for real and compares the
messages below. Each failure names the step, what was seen, a reason for a label, and whose fault it is. UNKNOWN means that
nothing was proved about the target.
`

var unstable = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d [A-Z+0-9-]+ on \d+ [A-Z][a-z]+`), "TIME on DAY"},
	{regexp.MustCompile(`within ±[\d.]+[mµ]?s`), "within ±2ms"},
	{regexp.MustCompile(`the kernel says that [^:)]*`), "the kernel says that no program synchronises its clock"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?( UTC)?)?`), "DATE"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d(\.\d+)?( UTC)?\b`), "TIME"},
	{regexp.MustCompile(`\b0\.3\d\ds\b`), "0.300s"},
	{regexp.MustCompile(`"/[^"]*/`), "\"/DIRECTORY/"},
	{regexp.MustCompile(`submission 0\.\d+s → in transit for 0\.\d+s`), "submission 0.004s → in transit for 0.300s"},
	{regexp.MustCompile(`\b\d+ bytes\b`), "2700 bytes"},
	{regexp.MustCompile(`\bqueued as \w+|queue id "?\w+"?|as [A-Z0-9]{8,}\b`), "queued as ID"},
	{regexp.MustCompile(`\blook for \w+`), "look for ID"},
}

// stable replaces what differs between runs.
func stable(text string) string {
	for _, u := range unstable {
		text = u.pattern.ReplaceAllString(text, u.instead)
	}
	return text
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the current output (if that is right, run the test with -update):\n%s", path, firstDifference(want, got))
	}
}

// firstDifference returns the first line in which two texts differ.
func firstDifference(want, got []byte) string {
	w, g := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d: got  %q\nline %d: want %q", i+1, g[i], i+1, w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}
