package mail

import (
	"bufio"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestRefusalsByStageCodeAndWords judges what servers answer to a stranger's mail to a foreign domain.
func TestRefusalsByStageCodeAndWords(t *testing.T) {
	for _, c := range []struct {
		at, reply string
		want      relayVerdict
	}{
		{"RCPT", "454 4.7.1 <y@elsewhere.test>: Relay access denied", relayDenied},                     // Postfix
		{"RCPT", "550 relay not permitted", relayDenied},                                               // Exim
		{"RCPT", "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", relayDenied}, // qmail
		{"RCPT", "550 5.7.1 <y@elsewhere.test>... Relaying denied", relayDenied},                       // sendmail
		{"RCPT", "513 Relaying denied.", relayDenied},                                                  // Courier
		{"RCPT", "550 Invalid recipient: <y@elsewhere.test>", relayUnclear},                            // OpenSMTPD
		{"RCPT", "550 5.1.2 not accepting email for elsewhere.test", relayDenied},
		{"RCPT", "550 5.1.2 bad destination", relayByCode},
		{"RCPT", "551 no", relayByCode},
		{"RCPT", "551 5.7.1 user not local; please try elsewhere", relayDenied},
		{"RCPT", "550 we do not accept mail for that domain", relayDenied},
		{"RCPT", "550 5.7.1 We don't handle mail for elsewhere.test here", relayDenied},
		{"RCPT", "550 We don’t serve elsewhere.test", relayDenied},
		{"RCPT", "554 domain is not hosted here", relayDenied},
		{"RCPT", "550 elsewhere.test is not one of our domains", relayDenied},
		{"RCPT", "553 non-local recipient", relayDenied},
		{"RCPT", "530 5.7.0 Authentication required", relayDenied},
		{"MAIL", "530 5.7.0 Authentication required", relayDenied},
		{"RCPT", "550 5.7.1 You must log in first", relayDenied},
		{"RCPT", "550 5.7.1 Authentication is required for that", relayDenied},
		// An open relay answers these too.
		{"RCPT", "550 5.1.2 Domain not found", relayUnclear},
		{"RCPT", "550 5.1.2 The domain has no MX record", relayUnclear},
		{"RCPT", "550 Unrouteable address", relayUnclear},
		{"RCPT", "550 5.1.1 user unknown", relayUnclear},
		{"RCPT", "550 no thanks", relayUnclear},
		{"RCPT", "550 5.7.1 blocked: your IP is on a blocklist", relayUnclear},
		{"RCPT", "554 5.7.1 Client host rejected: cannot find your reverse hostname", relayUnclear},
		{"RCPT", "550 5.7.1 not permitted", relayUnclear},
		{"RCPT", "550 cannot accept mail for policy reasons", relayUnclear},
		{"RCPT", "552 cannot accept mail for that mailbox: it is full", relayUnclear},
		{"MAIL", "550 5.1.2 not accepting email for elsewhere.test", relayUnclear},
		{"MAIL", "550 5.1.8 sender refused", relayUnclear},
		{"RCPT", "530 5.7.0 Must issue a STARTTLS command first", relayUnclear},
	} {
		reply, err := readReply(bufio.NewReader(strings.NewReader(c.reply + "\r\n")))
		if err != nil {
			t.Fatal(c.reply, err)
		}
		if got := (&replyError{Command: c.at + " x", Reply: reply}).deniesRelay(); got != c.want {
			t.Errorf("%s: %s: got %d, want %d", c.at, c.reply, got, c.want)
		}
	}
}

// TestAuthWithoutAMechanismOffersNothing reads the answers to EHLO that servers give.
func TestAuthWithoutAMechanismOffersNothing(t *testing.T) {
	for lines, want := range map[string]string{
		"":                             "none",
		"AUTH":                         "none",
		"AUTH ":                        "none",
		"AUTH=":                        "none",
		"AUTH=  ":                      "none",
		"auth   ":                      "none",
		"AUTH\t":                       "none",
		"AUTH\nAUTH=":                  "none",
		"AUTH=\nAUTH PLAIN":            "PLAIN",
		"AUTH PLAIN LOGIN":             "PLAIN LOGIN",
		"AUTH PLAIN LOGIN\nAUTH=LOGIN": "PLAIN LOGIN",
		"AUTH=PLAIN LOGIN":             "PLAIN LOGIN",
		"auth plain  login plain":      "PLAIN LOGIN",
		"AUTH LOGIN\nAUTH PLAIN LOGIN": "LOGIN PLAIN",
		"AUTHX PLAIN":                  "none",
		"STARTTLS \nSIZE 10":           "none",
	} {
		offers := offersIn(Reply{Code: 250, Lines: append([]string{"mail.test"}, strings.Split(lines, "\n")...)})
		got, offered := offers["AUTH"]
		if !offered {
			got = "none"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", lines, got, want)
		}
		if _, tls := offers["STARTTLS"]; tls != strings.Contains(lines, "STARTTLS") {
			t.Errorf("%q: %v", lines, slices.Sorted(maps.Keys(offers)))
		}
	}
}
