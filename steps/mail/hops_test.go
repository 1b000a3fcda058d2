package mail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// accepted is when the message of these tests was accepted, by our clock; the queue id has the same time.
var accepted = time.Date(2026, 11, 21, 9, 42, 13, 730_000_000, time.UTC)

const (
	toMail  = "from client.example.org (client.example.org [192.0.2.1]) (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)) by mail.example.test (Postfix) with ESMTPSA id 4jWnKx59XYz1VF5k for <bob@example.test>; Sat, 21 Nov 2026 09:42:13 +0000 (UTC)"
	toMX2   = "from mail.example.test (mail.example.test [192.0.2.2]) by mx2.example.test (Postfix) with ESMTPS id 764D49C6071; "
	toStore = "from mx2.example.test ([192.0.2.3]) by store.example.test with LMTPS id 1; "
	onMail  = "from mail.example.test by mail.example.test with LMTP id 1; "
)

func stamp(d time.Duration) string { return accepted.Add(d).Format(time.RFC1123Z) }

func TestWay(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		name     string
		received []string // in the order of travel
		seen     time.Duration
		foreign  bool // sent by somebody else
		want     string
		skews    string
	}{
		{name: "two servers and a store", received: []string{toMail, toMX2 + stamp(41*second), toStore + stamp(42*second)}, seen: 42*second + 400*time.Millisecond,
			want: "submission 0.012s → queue ~40.8s → mx2 ~1.0s → inbox ~0.6s", skews: "queue 0s, transfer 0s, inbox 0s"},
		{name: "held for 41 seconds", received: []string{toMail, onMail + stamp(41*second)}, seen: 41*second + 300*time.Millisecond,
			want: "submission 0.012s → queue ~40.8s → inbox ~0.5s", skews: "queue 0s"},
		{name: "exact to the microsecond", received: []string{toMail,
			strings.ReplaceAll(toMX2, "764D49C6071", "4jWnLJ2KMLz1VF5k") + "Sat, 21 Nov 2026 09:42:32 +0000"}, seen: 20 * second,
			want: "submission 0.012s → queue 18.6s → inbox 1.40s", skews: "queue 0s, inbox 0s"},
		{name: "at once", received: []string{toMail, onMail + stamp(0)}, seen: 20 * time.Millisecond,
			want: "submission 0.012s → queue ~0.010s → inbox ~0.010s", skews: "queue 0s"},
		{name: "one header", received: []string{toMail}, seen: 3 * second, want: "submission 0.012s → queue and inbox 3.00s", skews: "inbox 0s"},
		{name: "no header", seen: 3 * second, want: "submission 0.012s → queue and inbox 3.00s"},
		{name: "the store is 90 s behind", received: []string{toMail, toMX2 + stamp(2*second), toStore + stamp(-88*second)}, seen: 2 * second,
			want:  "submission 0.012s → queue ~1.6s → mx2 ~0.0s → inbox ~0.4s; the clock of store.example.test is at least 89.0s behind",
			skews: "queue 0s, transfer 0s, inbox -1m29s"},
		{name: "the store is an hour ahead", received: []string{toMail, toStore + stamp(time.Hour)}, seen: 2 * second,
			want:  "submission 0.012s → queue ~2.0s → inbox ~0.0s; the clock of store.example.test is at least 3597.3s ahead",
			skews: "queue 0s, inbox 59m57.27s"},
		{name: "the first server is 90 s behind, and stores what it took", received: []string{
			"from client.example.org by mail.example.test with ESMTPSA id 1; " + stamp(-90*second), onMail + stamp(-49*second)}, seen: 42 * second,
			want:  "submission 0.012s → queue ~40.5s → inbox ~1.5s; the clock of mail.example.test is at least 89.7s behind",
			skews: "queue -1m29.718s"},
		{name: "ours is 20 minutes behind", received: []string{
			"from client.example.org by mail.example.test with ESMTPSA id 1; " + stamp(20*time.Minute), toStore + stamp(20*time.Minute+second)}, seen: 2 * second,
			want: "submission 0.012s → queue ~2.0s → inbox ~0.0s; the clock of mail.example.test is at least 1199.3s ahead; the clock of store.example.test is at least 1198.3s ahead; " +
				"these clocks agree with each other, so that of this machine may be the one that is wrong",
			skews: "queue 19m59.27s, inbox 19m58.27s"},
		{name: "one header cannot be read", received: []string{toMail, "?\x1b", onMail + stamp(1*second)}, seen: 2 * second,
			want: "submission 0.012s → queue ~0.8s → inbox ~1.2s; 1 of 3 Received headers are unreadable: \"??\"", skews: "queue 0s"},
		{name: "a hop without a time", received: []string{toMail, "from a by mx2.example.test with ESMTPS id 7", onMail + stamp(1*second)}, seen: 2 * second,
			want: "submission 0.012s → queue ~0.0s → mx2 ~0.8s → inbox ~1.2s", skews: "queue 0s"},
		{name: "somebody else's", received: []string{toMail, onMail + stamp(10*second)}, seen: 11 * second, foreign: true,
			want: "queue ~9.8s → inbox ~1.2s", skews: "queue 0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &Submission{Server: "mail.example.test:587", sent: true, Accepted: accepted, Took: 12 * time.Millisecond,
				Reply: Reply{Code: 250, Lines: []string{"2.0.0 Ok: queued as 4jWnKx59XYz1VF5k"}}}
			if c.foreign {
				s = nil
			}
			var top []string
			for _, r := range c.received {
				top = append([]string{r}, top...)
			}
			w := newWay(s, top, accepted.Add(c.seen), 0)
			skews := ""
			for _, k := range w.skews {
				skews += fmt.Sprintf(", %s %s", k.label, k.ahead)
			}
			if got := w.String(); got != c.want || strings.TrimPrefix(skews, ", ") != c.skews {
				t.Errorf("got\n%s [%s]\nwant\n%s [%s]", got, strings.TrimPrefix(skews, ", "), c.want, c.skews)
			}
			var sum time.Duration
			for _, l := range w.legs {
				if l.took < 0 || l.least < 0 || l.least > l.took || l.took > l.most {
					t.Errorf("%s: at least %s, %s, at most %s", l.name, l.least, l.took, l.most)
				}
				sum += l.took
			}
			if !c.foreign && sum != c.seen+s.Took {
				t.Errorf("the legs are %s together, the way took %s", sum, c.seen+s.Took)
			}
		})
	}
}

func TestWaySentences(t *testing.T) {
	const second = time.Second
	good := []string{toMail, toMX2 + stamp(41*second), toStore + stamp(42*second)}
	clear := []string{toMail, "from mail.example.test (mail.example.test [192.0.2.2]) by old.example.test (Postfix) with ESMTP id 7; " + stamp(second), toStore + stamp(second)}
	silent := []string{toMail, "from mail.example.test (192.0.2.2) by ex01.example.test with Microsoft SMTP Server id 15.1; " + stamp(second)}
	const wayOfGood = "submission 0.012s → queue ~40.8s → mx2 ~1.0s → inbox ~3.2s"
	const routeOfGood = "it went client.example.org → mail.example.test → mx2.example.test → store.example.test"
	library := steps.Registered()
	for _, c := range []struct {
		received []string
		step     string
		want     string // reason, blame: message
	}{
		{good, `every hop used TLS`, ""},
		{[]string{toMail, onMail + stamp(second)}, `every hop used TLS`, ""},
		{clear, `every hop used TLS`, "tls, transfer: hop 2 of 3, from mail.example.test to old.example.test, was not encrypted (with ESMTP): make TLS mandatory there"},
		{[]string{strings.ReplaceAll(toStore, "LMTPS", "LMTP")}, `every hop used TLS`, "tls, delivery: hop 1 of 1, from mx2.example.test to store.example.test, was not encrypted (with LMTP): make TLS mandatory there"},
		{[]string{strings.ReplaceAll(clear[1], "ESMTP", "SMTP")}, `every hop used TLS`, "tls, submission: hop 1 of 1, from mail.example.test to old.example.test, was not encrypted (with SMTP): make TLS mandatory there"},
		{silent, `every hop used TLS`, `unexpected, transfer: hop 2 of 2, from mail.example.test to ex01.example.test, does not say whether it used TLS (with "Microsoft SMTP Server")`},
		{nil, `every hop used TLS`, "unexpected, transfer: the message has no Received header, so its hops are unknown"},
		{[]string{toMail, "?"}, `every hop used TLS`, `unexpected, transfer: 1 of 2 Received headers are unreadable, so not every hop is known: "?"`},

		{good, `no hop took longer than 1m`, ""},
		{good, `no hop took longer than 40.5s`, ""}, // 41 in whole seconds may be 40.3
		{good, `no hop took longer than 10s`, "slow, queue: queue at mail.example.test took ~40.8s, wanted at most 10s: " + wayOfGood},
		{good[:1], `no hop took longer than 10s`, "slow, queue: queue and inbox at mail.example.test took 45.0s, wanted at most 10s: submission 0.012s → queue and inbox 45.0s"},
		{[]string{toMail, toMX2 + stamp(second), toStore + stamp(30*second)}, `no hop took longer than 20s`,
			"slow, transfer: mx2 at mx2.example.test took ~29.0s, wanted at most 20s: submission 0.012s → queue ~0.8s → mx2 ~29.0s → inbox ~15.2s"},
		{[]string{toMail, onMail + stamp(second)}, `no hop took longer than 20s`,
			"slow, delivery: inbox at mail.example.test took ~44.2s, wanted at most 20s: submission 0.012s → queue ~0.8s → inbox ~44.2s"},
		{good, `no hop took longer than 5ms`, "slow, submission: submission at mail.example.test:587 took 0.012s, wanted at most 5ms: " + wayOfGood},

		{good, `the queue held it for at most 60s`, ""},
		{good, `the queue held it for at most 5s`, "slow, queue: queue at mail.example.test took ~40.8s, wanted at most 5s: " + wayOfGood},
		{[]string{toMail, onMail + stamp(second)}, `the queue held it for at most 5s`, ""},

		{good, `it went through "mx2.example.test"`, ""},
		{good, `it went through "MX2"`, ""},
		{good, `it went through "192.0.2.2"`, ""},
		{good, `it went through "client.example.org"`, ""},
		{good, `it went through "mx3"`, `unexpected, transfer: the message did not go through "mx3": ` + routeOfGood},
		{nil, `it went through "mx3"`, `unexpected, transfer: the message did not go through "mx3": no Received header is readable`},
		{good, `it did not go through "mx3"`, ""},
		{good, `it did not go through "mx2"`, `unexpected, transfer: the message went through "mx2": ` + routeOfGood},
		{[]string{toMail, "?"}, `it did not go through "mx2"`, `unexpected, transfer: whether the message went through "mx2" is unknown: it has 1 readable and 1 unreadable Received headers`},

		{good, `it took 3 hops`, ""},
		{[]string{toMail, "?"}, `it took 2 hops`, ""},
		{good, `it took 2 hops`, "unexpected, transfer: the message took 3 hops, wanted 2: " + routeOfGood},
	} {
		w := steps.NewWorld(&steps.Target{}, nil, "run", "scenario")
		s := &Submission{Server: "mail.example.test:587", sent: true, Accepted: accepted, Took: 12 * time.Millisecond}
		raw := ""
		for _, r := range c.received {
			raw = "Received: " + r + "\r\n" + raw
		}
		steps.State[Session](w).Receive(w, &Arrival{sent: s, At: accepted.Add(45 * second), Read: func(context.Context) ([]byte, error) { return []byte(raw + "Subject: x\r\n\r\n"), nil }})
		bound, err := library.Bind(features.Step{Text: c.step})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := bound.Definition.Func(t.Context(), w, bound.Args); err != nil {
			var failure *steps.Failure
			if !errors.As(err, &failure) {
				t.Fatal(err)
			}
			got = fmt.Sprintf("%s, %s: %s", failure.Reason, failure.Blame, err)
		}
		if got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.step, got, c.want)
		}
	}
}

// The way is reported after the end of the step that received the message, and a mailbox that fails then does not fail
// the step.
func TestWayIsReportedAfterTheStep(t *testing.T) {
	w := steps.NewWorld(&steps.Target{}, nil, "run", "scenario")
	s := &Submission{Server: "mail.example.test:587", sent: true, Accepted: accepted, Took: 12 * time.Millisecond}
	raw := "Received: " + onMail + stamp(41*time.Second) + "\r\nReceived: " + toMail + "\r\n\r\n"
	steps.State[Session](w).Receive(w, &Arrival{sent: s, At: accepted.Add(42 * time.Second), Read: func(context.Context) ([]byte, error) { return []byte(raw), nil }})
	if r := w.TakeReport(); r.Note != "" || r.Measurements != nil {
		t.Errorf("reported within the step: %+v", r)
	}
	w.RunAfter(t.Context())
	r := w.TakeReport()
	got := r.Note + "\n"
	for _, m := range r.Measurements {
		got += fmt.Sprintln(m.Name, m.Labels, m.Value)
	}
	const want = `submission 0.012s → queue ~40.8s → inbox ~1.2s
mail_hop_seconds [{hop submission}] 0.012
mail_hop_seconds [{hop queue}] 40.77
mail_hop_seconds [{hop inbox}] 1.23
mail_clock_skew_seconds [{hop queue}] 0
mail_hops [] 2
mail_received_unreadable [] 0
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}

	steps.State[Session](w).Receive(w, &Arrival{sent: s, At: accepted, Read: func(context.Context) ([]byte, error) {
		return nil, steps.Fail(result.ReasonDisconnected, result.BlameAccess, "read the message: gone")
	}})
	w.RunAfter(t.Context())
	if r := w.TakeReport(); r.Note != "the way is unknown: read the message: gone" || len(r.Measurements) != 0 {
		t.Errorf("got %+v", r)
	}
}

// Whatever the clocks of the hosts, the sum of the legs is the duration of the way, and none is negative.
func FuzzWay(f *testing.F) {
	f.Add([]byte{0, 10, 41, 20, 42, 31}, uint16(43_000))
	f.Add([]byte{0, 10, 200, 20, 2, 10, 90, 30}, uint16(3_000))
	f.Fuzz(func(t *testing.T, stamps []byte, seen uint16) {
		s := &Submission{Server: "mail.example.test:587", sent: true, Accepted: accepted, Took: 12 * time.Millisecond}
		var top []string
		for i := 0; i+1 < len(stamps); i += 2 { // seconds, host
			ahead := time.Duration(int8(stamps[i])) * time.Second
			top = append([]string{fmt.Sprintf("from a by host%d.example.test with ESMTPS id %d; %s", stamps[i+1]%4, i, stamp(ahead))}, top...)
		}
		w := newWay(s, top, accepted.Add(time.Duration(seen)*time.Millisecond), time.Duration(seen)*time.Millisecond/3)
		var sum time.Duration
		for _, l := range w.legs {
			if l.took < 0 || l.least < 0 || l.least > l.took || l.took > l.most {
				t.Errorf("%s: at least %s, %s, at most %s: %q", l.name, l.least, l.took, l.most, top)
			}
			sum += l.took
		}
		if want := time.Duration(seen)*time.Millisecond + s.Took; sum != want {
			t.Errorf("the legs are %s together, the way took %s: %q", sum, want, top)
		}
	})
}

// Where a server allows few looks, most of the last leg may be stepwatch's own lag. It never counts against a limit, and
// what is certain still does.
func TestOwnLagIsNotHeldAgainstTheTarget(t *testing.T) {
	for _, c := range []struct {
		stored, seen, lag, limit time.Duration
		headers                  int
		exceeds                  bool
	}{
		{stored: 0, seen: 10400 * time.Millisecond, lag: 10 * time.Second, limit: 8 * time.Second, headers: 1},
		{stored: 0, seen: 10400 * time.Millisecond, lag: 10 * time.Second, limit: 8 * time.Second, headers: 2},
		{stored: 7 * time.Second, seen: 10400 * time.Millisecond, lag: 10 * time.Second, limit: 8 * time.Second, headers: 2},
		{stored: 0, seen: 61 * time.Second, lag: 60 * time.Second, limit: 2 * time.Second, headers: 1},
		{stored: 0, seen: 10400 * time.Millisecond, lag: 10 * time.Millisecond, limit: 8 * time.Second, headers: 1, exceeds: true},
		{stored: 0, seen: 20400 * time.Millisecond, lag: 10 * time.Second, limit: 8 * time.Second, headers: 1, exceeds: true},
		{stored: 15 * time.Second, seen: 20400 * time.Millisecond, lag: 10 * time.Second, limit: 8 * time.Second, headers: 2, exceeds: true}, // in the queue
	} {
		received := []string{toMail, onMail + stamp(c.stored)}[:c.headers]
		slices.Reverse(received)
		s := &Submission{Server: "mail.example.test:587", Accepted: accepted, Took: 12 * time.Millisecond, Reply: Reply{Code: 250, Lines: []string{"2.0.0 Ok: queued as 4jWnKx59XYz1VF5k"}}}
		w := newWay(s, received, accepted.Add(c.seen), c.lag)
		if got := slices.ContainsFunc(w.legs, func(l leg) bool { return l.exceeds(c.limit) }); got != c.exceeds {
			t.Errorf("stored after %s, seen after %s with a lag of %s: %s: exceeds %s: %v", c.stored, c.seen, c.lag, w, c.limit, got)
		}
	}
}

// The hop that stepwatch itself made needs no Received header to say whether it used TLS.
func TestOurOwnHopIsKnown(t *testing.T) {
	const plain = "from client.example.org (client.example.org [192.0.2.1]) by mail.example.test with SMTP id 4jWnKx59XYz1VF5k; Sat, 21 Nov 2026 09:42:13 +0000"
	for _, c := range []struct {
		name, first, next string
		secure            bool
		want              string
	}{
		{"SMTP over TLS", plain, "", true, ""},
		{"nothing about the protocol", strings.Replace(plain, "with SMTP", "with Mailgateway", 1), "", true, ""},
		{"without an id", strings.Replace(plain, "id 4jWnKx59XYz1VF5k", "", 1), "", true, ""},
		{"in clear", plain, "", false, `hop 1 of 1, from client.example.org to mail.example.test, was not encrypted (with SMTP): make TLS mandatory there`},
		{"the next hop", plain, strings.Replace(toMX2, "ESMTPS", "SMTP", 1) + stamp(time.Second), true, `hop 2 of 2, from mail.example.test to mx2.example.test, was not encrypted (with SMTP): make TLS mandatory there`},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := "Received: " + c.first + "\r\n\r\n"
			if c.next != "" {
				header = "Received: " + c.next + "\r\n" + header
			}
			w := steps.NewWorld(&steps.Target{}, nil, "run", "test")
			s := &Submission{Server: "mail.example.test:587", Accepted: accepted, secure: c.secure, Reply: Reply{Code: 250, Lines: []string{"2.0.0 Ok: queued as 4jWnKx59XYz1VF5k"}}}
			steps.State[Session](w).Arrivals = []*Arrival{{sent: s, At: accepted, Raw: []byte(header)}}
			err := everyHopUsedTLS(t.Context(), w, steps.Args{})
			if got := fmt.Sprint(err); got != c.want && (err != nil || c.want != "") && !strings.HasPrefix(got, c.want) || err == nil != (c.want == "") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestReceivedLimit reads messages with as many Received headers as are read, and with one more.
func TestReceivedLimit(t *testing.T) {
	for n, want := range map[int]string{
		receivedLimit:     "",
		receivedLimit + 1: "the message has 201 Received headers, the limit is 200; servers take 100 for a loop (RFC 5321 section 6.3)",
	} {
		raw := strings.Repeat("Received: "+toMX2+stamp(time.Second)+"\r\n", n) + "Subject: x\r\n\r\n"
		a := &Arrival{Raw: []byte(raw), At: accepted.Add(time.Minute)}
		_, err := a.travelled(t.Context())
		if err == nil {
			if want != "" {
				t.Errorf("%d: got no failure", n)
			}
			continue
		}
		if got := err.Error(); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
		if failure := (*steps.Failure)(nil); !errors.As(err, &failure) || failure.Reason != result.ReasonTooLarge || failure.Blame != result.BlameTransfer {
			t.Errorf("%d: got %+v", n, failure)
		}
	}
}
