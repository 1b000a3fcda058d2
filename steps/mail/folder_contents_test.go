package mail_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestFolderContents(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{Prefix: "INBOX/"})
	const few, young = `Then the folder "Inbox" of "bob" holds fewer than 3 messages`, `Then the oldest message in the folder "INBOX" of "bob" is younger than 2 hours`
	empty := bed.Run(t, 5*time.Second, few+"\n"+young+"\n"+`Then the folder "Junk" of "bob" holds fewer than 1 messages`)
	fixture.Passed(t, empty)
	for _, age := range []time.Duration{time.Hour, 90 * time.Minute} {
		if err := bed.Deliver("bob", []byte(unrelated), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	outcome := bed.Run(t, 5*time.Second, few+"\n"+young)
	fixture.Passed(t, outcome)
	measured := map[string]float64{}
	for _, step := range append(empty.Steps, outcome.Steps...) {
		for _, m := range step.Report.Measurements {
			measured[m.Name] = m.Value
		}
	}
	if age := measured["mail_folder_oldest_age_seconds"]; measured["mail_folder_messages"] != 2 || age < 5399 || age > 5460 {
		t.Errorf("measured %v", measured)
	}
	if err := bed.Deliver("bob", []byte(unrelated), time.Now().Add(-50*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		few:   `bob's INBOX at mail\.demo\.test:993 holds 3 messages, wanted fewer than 3`,
		young: `the oldest of 3 messages in bob's INBOX at mail\.demo\.test:993 came at \d\d:\d\d:\d\d UTC on \d+ \w+ \d{4}, 2 days ago, wanted younger than 2 hours`,
		`Then the folder "Lists" of "bob" holds fewer than 3 messages`: `bob has no folder "Lists" at mail\.demo\.test:993: it has INBOX, INBOX/Junk`,
	} {
		reason, blame := result.ReasonUnexpected, result.BlameTarget
		switch text {
		case few:
		case young:
			reason = result.ReasonSlow
		default:
			reason, blame = result.ReasonNotFound, result.BlameAccess
		}
		check(t, bed.Run(t, 5*time.Second, text), 0, reason, blame, want)
	}
	if n := bed.Mailbox("bob"); n != 3 {
		t.Errorf("%d messages, wanted 3: nothing may change", n)
	}
}

// A folder is found under the prefix and with the delimiter of the account's folders, whether the server tells them or its list of
// folders shows them.
func TestFolderNames(t *testing.T) {
	const begin = `
		TLS
		S: * PREAUTH [CAPABILITY IMAP4rev1 %s] you are bob
		C: @ EXAMINE "INBOX"
		S: * OK [UIDNEXT 1] x
		S: @ OK done
		`
	const end = `
		S: * 2 EXISTS
		S: * OK [UIDNEXT 3] x
		S: @ OK done
		C: @ LOGOUT
		S: @ OK done`
	for name, test := range map[string]struct{ capability, folder, script string }{
		"the prefix is told": {"NAMESPACE", "Lists", `C: @ NAMESPACE
			S: * NAMESPACE (("INBOX." ".")) NIL NIL
			S: @ OK done
			C: @ EXAMINE "Lists"
			S: @ NO [NONEXISTENT] no
			C: @ EXAMINE "INBOX.Lists"`},
		"the prefix is shown": {"", "Lists", `C: @ LIST
			S: * LIST () "." INBOX
			S: * LIST () "." INBOX.Lists
			S: @ OK done
			C: @ EXAMINE "Lists"
			S: @ NO no
			C: @ EXAMINE "INBOX.Lists"`},
		"another delimiter": {"NAMESPACE", "Lists/Gruppe Süd", `C: @ NAMESPACE
			S: * NAMESPACE (("" ".")) NIL NIL
			S: @ OK done
			C: @ EXAMINE "Lists/Gruppe S&APw-d"
			S: @ NO no
			C: @ EXAMINE "Lists.Gruppe S&APw-d"`},
		"written with the prefix": {"NAMESPACE", "Inbox.Lists", `C: @ NAMESPACE
			S: * NAMESPACE (("INBOX." ".")) NIL NIL
			S: @ OK done
			C: @ EXAMINE "Inbox.Lists"`},
		"no namespace": {"NAMESPACE", "Lists", `C: @ NAMESPACE
			S: * NAMESPACE NIL NIL NIL
			S: @ OK done
			C: @ LIST
			S: * LIST () NIL INBOX
			S: @ OK done
			C: @ EXAMINE "Lists"`},
		"NAMESPACE is refused": {"NAMESPACE", "Lists", `C: @ NAMESPACE
			S: @ NO not now
			C: @ LIST
			S: @ OK done
			C: @ EXAMINE "Lists"`},
	} {
		t.Run(name, func(t *testing.T) {
			bed := scripted(t, map[string]string{"993": fmt.Sprintf(begin, test.capability) + test.script + end})
			fixture.Passed(t, bed.Run(t, 5*time.Second, `Then the folder "`+test.folder+`" of "bob" holds fewer than 3 messages`))
		})
	}
}
