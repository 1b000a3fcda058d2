package verdict

import (
	"context"
	_ "embed"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lookup"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/maildns"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

// sealedMessage went through two forwarders, whose seals another program made (dkimpy), with the key of sealedKey.
//
//go:embed testdata/arc.eml
var sealedMessage string

const sealedKey = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC9Db9ARuB8NJ4hVZHXyKRciAwCGDYh5wcDS1pkjY/wYLwxD3qCgI+WbONDB4RzKlVNyeWSx8un9k14LTJECrEkh36r+h0QMDKdVfaU/o6eys2lc05eaymfzOQCmyNUPKIP4HP54Mh8Z5E1LIHQyot+nFXOI0rPUt6Laul2CGgUzwIDAQAB"

func arcServer(t *testing.T) (*nameserver.Server, *steps.Target) {
	t.Helper()
	zone := "$TTL 60\n"
	for _, name := range []string{"example.org", "forward.example"} {
		zone += name + ". SOA ns." + name + ". admin." + name + ". 1 60 60 60 60\n"
	}
	server, err := nameserver.Start("127.0.0.1:0", zone+`arc._domainkey.lists.example.org. TXT "`+sealedKey+"\"\narc._domainkey.forward.example. TXT \""+sealedKey+`"
revoked._domainkey.forward.example. TXT "v=DKIM1; p="
long._domainkey.forward.example. TXT "v=DKIM1; p="`+strings.Repeat(` "`+strings.Repeat("A", 200)+`"`, 8)+"\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, &steps.Target{Resolver: server.Address()}
}

func TestARC(t *testing.T) {
	server, target := arcServer(t)
	first := sealedMessage[strings.Index(sealedMessage, "ARC-Seal: i=1"):]
	for name, c := range map[string]struct{ message, want string }{
		"two forwarders": {sealedMessage, ""},
		"the first":      {first, ""},
		"more on top":    {"Received: from a by b; x\r\n" + sealedMessage, ""},
		"no chain":       {first[strings.Index(first, "From: "):], "ARC: the message in bob's INBOX at imap.mail.test:993 has no chain: no server on its route sealed it (unexpected, blame transfer)"},
		"body altered":   {strings.Replace(sealedMessage, "Hello", "Howdy", 1), "ARC: the chain is not valid: the message signature of instance 2 (forward.example): the body was altered after it was signed (the body hash differs) (unexpected, blame transfer)"},
		"author altered": {strings.Replace(sealedMessage, "From: Alice", "From: Eve", 1), "ARC: the chain is not valid: the message signature of instance 2 (forward.example): it does not match: what it covers was altered, or DNS has a different key (unexpected, blame transfer)"},
		"results altered": {strings.Replace(sealedMessage, "i=1; lists.example.org; spf=pass", "i=1; lists.example.org; spf=fail", 1),
			"ARC: the chain is not valid: the seal of instance 2 (forward.example): it does not match: what it covers was altered, or DNS has a different key (unexpected, blame transfer)"},
		"a part missing":    {strings.Replace(sealedMessage, "ARC-Message-Signature: i=1", "X-Was: i=1", 1), "ARC: the chain is not valid: instance 1 of 2 is not complete (unexpected, blame transfer)"},
		"a part twice":      {"ARC-Seal: i=2; cv=pass\r\n" + sealedMessage, "ARC: the chain is not valid: ARC-Seal of instance 2 occurs twice (unexpected, blame transfer)"},
		"failed before":     {strings.Replace(sealedMessage, "i=2; cv=pass", "i=2; cv=fail", 1), "ARC: the chain is not valid: the seal of instance 2 says cv=fail, want cv=pass (unexpected, blame transfer)"},
		"a tag twice":       {strings.Replace(sealedMessage, "i=2; cv=pass", "i=2; cv=pass; cv=pass", 1), "ARC: the chain is not valid: ARC-Seal: the tag cv occurs twice (unexpected, blame transfer)"},
		"no tag":            {strings.Replace(sealedMessage, "i=2; cv=pass", "i=2;; cv=pass", 1), "ARC: the chain is not valid: ARC-Seal: \"\" is not a tag (unexpected, blame transfer)"},
		"a seal covered":    {strings.Replace(sealedMessage, "h=from :", "h=arc-seal : from :", 1), "ARC: the chain is not valid: the message signature of instance 2 (forward.example): it covers ARC-Seal, which it must not (unexpected, blame transfer)"},
		"no such instance":  {"ARC-Seal: i=51; cv=pass\r\n" + sealedMessage, "ARC: the chain is not valid: ARC-Seal has no instance from 1 to 50 (unexpected, blame transfer)"},
		"no key":            {strings.ReplaceAll(sealedMessage, "d=forward.example; s=arc", "d=forward.example; s=gone"), "ARC: the chain is not valid: the message signature of instance 2 (forward.example): DNS has no key at gone._domainkey.forward.example (unexpected, blame transfer)"},
		"key revoked":       {strings.ReplaceAll(sealedMessage, "d=forward.example; s=arc", "d=forward.example; s=revoked"), "ARC: the chain is not valid: the message signature of instance 2 (forward.example): its key at revoked._domainkey.forward.example is revoked (p= is empty) (unexpected, blame transfer)"},
		"a long key":        {strings.ReplaceAll(sealedMessage, "d=forward.example; s=arc", "d=forward.example; s=long"), "ARC: the chain is not valid: the message signature of instance 2 (forward.example): the record at long._domainkey.forward.example cannot be used: the RSA key in DNS has 9200 bits, the limit is 8192 (too_large, blame transfer)"},
		"too many fields":   {strings.Replace(sealedMessage, "h=from :", "h=from :"+strings.Repeat("x:", int(signedLimit.Most)), 1), "ARC: the chain is not valid: a signature has 506 signed fields, the limit is 500 (too_large, blame transfer)"},
		"another algorithm": {strings.Replace(sealedMessage, "a=rsa-sha256; c=", "a=rsa-sha1; c=", 1), "ARC: the chain is not valid: the message signature of instance 2 (forward.example): its algorithm is \"rsa-sha1\" (unexpected, blame transfer)"},
	} {
		t.Run(name, func(t *testing.T) {
			w := worldWith(target, &steps.Account{IMAP: "imap.mail.test"}, c.message)
			fixture.WantFailure(t, fixture.Perform(t, w, "it has a valid ARC chain"), c.want)
			if got, found := fixture.Reported(w, "mail_arc_pass"); !found || got == 1 != (c.want == "") {
				t.Errorf("measured %g", got)
			}
		})
	}
	server.Refuse(dns.RcodeServerFailure)
	fixture.WantFailure(t, fixture.Perform(t, worldWith(target, &steps.Account{}, sealedMessage), "it has a valid ARC chain"),
		`look up a key of the ARC chain: "arc._domainkey.forward.example" does not resolve: server misbehaving (dns, blame dns)`)
}

// letterOf is a message that was read.
func letterOf(text string) *mail.Letter {
	fields, body := message.Read([]byte(text))
	return &mail.Letter{Arrival: &mail.Arrival{Raw: []byte(text)}, Fields: fields, Body: body}
}

// TestSignedMessageInEachForm checks that ARC's code verifies what the DKIM library signs, and nothing else.
func TestSignedMessageInEachForm(t *testing.T) {
	_, target := zoneServer(t)
	w := steps.NewWorld(target, nil, "run", "test")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, body := range []string{"", "\r\n", "Hello\r\n", "Hello", " a  b\t\r\n\r\n \r\nc \r\n\r\n\r\n"} {
		for _, forms := range [][2]string{{"simple", "simple"}, {"simple", "relaxed"}, {"relaxed", "simple"}, {"relaxed", "relaxed"}} {
			signed := sign(t, "From:  a@example.org\r\nSubject: two\r\n\twords \r\nTo: b@mail.test\r\n\r\n"+body, "example.org", "s1", signingKey, func(o *dkim.SignOptions) {
				o.HeaderCanonicalization, o.BodyCanonicalization = dkim.Canonicalization(forms[0]), dkim.Canonicalization(forms[1])
				o.HeaderKeys = []string{"From", "Subject", "To"}
			})
			l := letterOf(signed)
			keys := maildns.NewTexts(lookup.Records(w))
			if err := verifySignedMessage(ctx, keys, l, &l.Fields[0]); err != nil {
				t.Errorf("%q %v: %v", body, forms, err)
			}
			l = letterOf(strings.Replace(signed, "two", "2", 1))
			if err := verifySignedMessage(ctx, keys, l, &l.Fields[0]); err == nil {
				t.Errorf("%q %v: a changed subject passes", body, forms)
			}
		}
	}
}
