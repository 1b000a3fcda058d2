package verdict

import (
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// The fields have the shapes of real servers, with example names. The first line is the authserv-id; each later line is
// a result.
func TestParseAuthResults(t *testing.T) {
	for name, c := range map[string]struct{ value, want string }{
		"Gmail": {`mx.google.com;
       dkim=pass header.i=@example.org header.s=s2026 header.b=AbCdEf+/;
       arc=pass (i=1 spf=pass spfdomain=example.org dkim=pass dkdomain=example.org dmarc=pass fromdomain=example.org);
       spf=pass (google.com: domain of bounce+1=x@example.org designates 192.0.2.7 as permitted sender) smtp.mailfrom="bounce+1=x@example.org";
       dmarc=pass (p=REJECT sp=QUARANTINE dis=NONE) header.from=example.org`, `mx.google.com
dkim=pass header.i=@example.org header.s=s2026 header.b=AbCdEf+/
arc=pass (i=1 spf=pass spfdomain=example.org dkim=pass dkdomain=example.org dmarc=pass fromdomain=example.org)
spf=pass (google.com: domain of bounce+1=x@example.org designates 192.0.2.7 as permitted sender) smtp.mailfrom=bounce+1=x@example.org
dmarc=pass (p=REJECT sp=QUARANTINE dis=NONE) header.from=example.org`},
		"Exchange Online": {`spf=pass (sender IP is 192.0.2.7)
 smtp.mailfrom=example.org; dkim=pass (signature was verified)
 header.d=example.org;dmarc=pass action=none
 header.from=example.org;compauth=pass reason=100`, `
spf=pass (sender IP is 192.0.2.7) smtp.mailfrom=example.org
dkim=pass (signature was verified) header.d=example.org
dmarc=pass action=none header.from=example.org
compauth=pass reason=100`},
		"Yahoo": {`atlas-production.v2-mail-prod1-gq1.omega.yahoo.com;
 dkim=pass header.i=@example.org header.s=s1;
 spf=pass smtp.mailfrom=example.org;
 dmarc=pass(p=REJECT) header.from=example.org;`, `atlas-production.v2-mail-prod1-gq1.omega.yahoo.com
dkim=pass header.i=@example.org header.s=s1
spf=pass smtp.mailfrom=example.org
dmarc=pass (p=REJECT) header.from=example.org`},
		"Yahoo of old": {`mta1.mail.yahoo.com  from=example.org; domainkeys=neutral (no sig);  from=example.org; dkim=pass (ok)`, `mta1.mail.yahoo.com
from=example.org
domainkeys=neutral (no sig)
from=example.org
dkim=pass (ok)`},
		"OpenDKIM": {`mx1.example.test;
	dkim=pass (2048-bit key; unprotected) header.d=example.org header.i=@example.org header.a=rsa-sha256 header.s=mail header.b="AbC=/d";
	dkim-atps=neutral`, `mx1.example.test
dkim=pass (2048-bit key; unprotected) header.d=example.org header.i=@example.org header.a=rsa-sha256 header.s=mail header.b=AbC=/d
dkim-atps=neutral`},
		"OpenDMARC": {`mx1.example.test; dmarc=fail (p=reject dis=none) header.from=example.org`, `mx1.example.test
dmarc=fail (p=reject dis=none) header.from=example.org`},
		"rspamd": {`mx.example.test;
	dkim=pass header.d=example.org header.s=s1 header.b=Xy1234;
	spf=softfail (mx.example.test: 192.0.2.9 is neither permitted nor denied by domain of a@example.org) smtp.mailfrom=a@example.org;
	dmarc=pass (policy=reject) header.from=example.org;
	arc=none`, `mx.example.test
dkim=pass header.d=example.org header.s=s1 header.b=Xy1234
spf=softfail (mx.example.test: 192.0.2.9 is neither permitted nor denied by domain of a@example.org) smtp.mailfrom=a@example.org
dmarc=pass (policy=reject) header.from=example.org
arc=none`},
		"SpamAssassin beside amavis": {`mail.example.test (amavis); dkim=pass (1024-bit key)
 reason="pass (just generated, assumed good)" header.d=example.org`, `mail.example.test
dkim=pass (1024-bit key) reason="pass (just generated, assumed good)" header.d=example.org`},
		"with a version":        {`example.com 1; dkim/1 = pass header.d=example.org`, "example.com\ndkim=pass header.d=example.org"},
		"no result":             {`example.com 1; none`, "example.com"},
		"comments in comments":  {`(a (b; c\) d)) example.com; (x) auth=pass (cram-md5 (y)) smtp.auth=sender@example.org`, "example.com\nauth=pass (x) smtp.auth=sender@example.org"},
		"empty":                 {``, ""},
		"a comment without end": {`example.com; dkim=pass (never; spf=pass`, "example.com\ndkim=pass (never; spf=pass)"},
		"quotes without end":    {`example.com; dkim="pass; spf=fail`, "example.com\ndkim=pass; spf=fail"},
		"nothing but signs":     {`;;==()=;)"`, ""},
		"a backslash at last":   {`x; dkim=pass (a\`, "x\ndkim=pass (a\\)"},
	} {
		t.Run(name, func(t *testing.T) {
			a := parseAuthResults(c.value)
			got := a.id
			for _, r := range a.results {
				got += "\n" + r.String()
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// FuzzParseAuthResults checks that parsing a stranger's header ends, and that the results are a part of the header.
func FuzzParseAuthResults(f *testing.F) {
	for _, seed := range []string{`mx.google.com; dkim=pass (a; b) header.d="x y"`, `spf=pass (sender IP is 192.0.2.7) smtp.mailfrom=x;dkim=none`, `(((`, `"\`, `a=(`, `a = b`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		a := parseAuthResults(value)
		size := len(a.id)
		for _, r := range a.results {
			size += len(r.method) + len(r.result) + len(r.comment)
			for _, p := range r.properties {
				size += len(p.name) + len(p.value)
			}
		}
		// A lower-case letter takes three bytes at most where the letter took two or one.
		if size > 3*len(value) {
			t.Errorf("%q became %d bytes", value, size)
		}
		fields, body := message.Read([]byte(value))
		mail.Handovers(message.Header{{Name: "Received", Value: value}})
		encryptionOf(fields, body, 0)
		spamSigns(fields)
		_, _ = readARCChain(fields)
		relaxedBody([]byte(value))
	})
}

func TestReceivingServerSays(t *testing.T) {
	const trusted = "Authentication-Results: mx.mail.test; dkim=pass (2048-bit key; unprotected) header.d=example.org; spf=softfail smtp.mailfrom=a@example.org; dmarc=temperror\r\n"
	const ours = "Received: from out.example.org (out.example.org [192.0.2.7]) by mx.mail.test (Postfix) with ESMTPS id 1; Sat, 21 Nov 2026 12:00:00 +0000\r\n"
	const theirs = "Received: from pc.example.org (pc.example.org [192.0.2.8]) by out.example.org (Postfix) with ESMTPSA id 2; Sat, 21 Nov 2026 12:00:00 +0000\r\n"
	const forged = "Authentication-Results: mx.mail.test; dkim=pass header.d=bank.example\r\n"
	const foreign = "Authentication-Results: mx.evil.example; dkim=pass header.d=bank.example\r\n"
	const exchange = "Authentication-Results: spf=pass (sender IP is 192.0.2.7) smtp.mailfrom=example.org; dkim=none (message not signed)\r\n"
	const body = "From: a@example.org\r\n\r\nHello\r\n"
	for name, c := range map[string]struct {
		step, message, id string
		want              string // of the error; empty when it passes
		ignored           float64
	}{
		"a result":             {step: "dkim=pass", message: trusted + ours + theirs + body},
		"with a property":      {step: "dkim=pass header.d=Example.ORG", message: trusted + ours + body},
		"with another":         {step: "dkim=pass header.d=example.net", message: trusted + ours + body, want: "the receiving server says dkim=pass (2048-bit key; unprotected) header.d=example.org, wanted dkim=pass header.d=example.net (unexpected, blame submission)"},
		"another result":       {step: "spf=pass", message: trusted + ours + body, want: "the receiving server says spf=softfail smtp.mailfrom=a@example.org, wanted spf=pass (unexpected, blame transfer)"},
		"DNS trouble there":    {step: "dmarc=pass", message: trusted + ours + body, want: "the receiving server says dmarc=temperror, wanted dmarc=pass (unexpected, blame dns)"},
		"nothing of it":        {step: "arc=pass", message: trusted + ours + body, want: "the receiving server says nothing about arc (unexpected, blame filtering)"},
		"no header":            {step: "dkim=pass", message: ours + body, want: "the receiving server wrote no Authentication-Results (unexpected, blame filtering)"},
		"only a stranger's":    {step: "dkim=pass", message: foreign + ours + body, ignored: 1, want: "the receiving server wrote no Authentication-Results; ignored Authentication-Results of mx.evil.example (trusted: mail.test; set by authserv_id of the account in stepwatch.yml) (unexpected, blame filtering)"},
		"a stranger's beside":  {step: "dkim=pass header.d=bank.example", message: trusted + foreign + ours + body, ignored: 1, want: "the receiving server says dkim=pass (2048-bit key; unprotected) header.d=example.org, wanted dkim=pass header.d=bank.example; ignored Authentication-Results of mx.evil.example (trusted: mail.test; set by authserv_id of the account in stepwatch.yml) (unexpected, blame submission)"},
		"forged with our id":   {step: "dkim=pass", message: ours + theirs + forged + body, ignored: 1, want: "the receiving server wrote no Authentication-Results; ignored Authentication-Results of mx.mail.test (forged: it is below the fields of a foreign server) (trusted: mail.test; set by authserv_id of the account in stepwatch.yml) (unexpected, blame filtering)"},
		"beneath our own":      {step: "dkim=pass", message: ours + trusted + theirs + body},
		"configured id":        {step: "dkim=pass", message: foreign + ours + body, id: "evil.example"},
		"configured another":   {step: "dkim=pass", message: trusted + ours + body, id: "filter.example", ignored: 1, want: "the receiving server wrote no Authentication-Results; ignored Authentication-Results of mx.mail.test (trusted: filter.example; set by authserv_id of the account in stepwatch.yml) (unexpected, blame filtering)"},
		"no id, not expected":  {step: "spf=pass", message: exchange + ours + body, ignored: 1, want: "the receiving server wrote no Authentication-Results; ignored Authentication-Results of no authserv-id (trusted: mail.test; set by authserv_id of the account in stepwatch.yml) (unexpected, blame filtering)"},
		"no id, as configured": {step: "spf=pass", message: exchange + ours + body, id: "none"},
		"no result written":    {step: "dkim", message: trusted + ours + body, want: `"dkim" is not a result: write "dkim=pass" or "dkim=pass header.d=example.org" (scenario, blame scenario)`, ignored: -1},
	} {
		t.Run(name, func(t *testing.T) {
			w := worldWith(&steps.Target{}, &steps.Account{Name: "bob", IMAP: "imap.mail.test", AuthservID: c.id}, c.message)
			err := fixture.Perform(t, w, `the receiving server says "`+c.step+`"`)
			fixture.WantFailure(t, err, c.want)
			if got, found := fixture.Reported(w, "mail_authentication_results_ignored"); c.ignored >= 0 && got != c.ignored || found != (c.ignored >= 0) {
				t.Errorf("%g fields are ignored, want %g", got, c.ignored)
			}
		})
	}
}

// The leg to blame for a result, in the receiving server's words.
func TestOwnerOfAResult(t *testing.T) {
	for value, want := range map[string]result.Blame{
		"dkim=none": result.BlameSubmission, "dkim=fail": result.BlameTarget, "dkim=neutral": result.BlameTarget, `dkim=fail reason="key not found in DNS"`: result.BlameDNS, "dkim=permerror": result.BlameDNS,
		"spf=fail": result.BlameTransfer, "spf=softfail": result.BlameTransfer, "spf=none": result.BlameDNS, "spf=permerror": result.BlameDNS,
		"dmarc=fail": result.BlameSubmission, "dmarc=none": result.BlameDNS, "dmarc=temperror": result.BlameDNS, "x-spam=yes": result.BlameFiltering,
	} {
		if got := parseAuthResults("mx; " + value).results[0].owner(); got != want {
			t.Errorf("%s: got %s, want %s", value, got, want)
		}
	}
}

// By default the host of the mailbox decides which servers are trusted.
func TestReceivingSide(t *testing.T) {
	for _, c := range []struct{ imap, address, id, trusted, not string }{
		{"imap.example.org", "", "", "mx1.example.org example.org MX.EXAMPLE.ORG.", "example.com badexample.org org"},
		{"imap.gmail.com", "", "", "mx.google.com", "google.com.evil.example"},
		{"outlook.office365.com", "", "", "", "example.com"},
		{"", "bob@example.org", "", "mx.example.org", "mx.example.net"},
		{"192.0.2.1", "", "", "192.0.2.1", "192.0.2.2"},
		{"imap.example.org", "", "mx1.filter.example", "mx1.filter.example", "mx2.filter.example example.org"},
	} {
		side := mail.ReceivingSideOf(&steps.Account{IMAP: c.imap, Address: c.address, AuthservID: c.id}, nil)
		for _, id := range strings.Fields(c.trusted) {
			if !side.Trusts(id) {
				t.Errorf("%+v: %q is not believed", c, id)
			}
		}
		for _, id := range strings.Fields(c.not) {
			if side.Trusts(id) {
				t.Errorf("%+v: %q is believed", c, id)
			}
		}
		if got, want := side.Trusts(""), c.imap == "outlook.office365.com"; got != want {
			t.Errorf("%+v: without an id believed is %t", c, got)
		}
	}
}
