package dns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/lookup"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/maildns"
	"github.com/stepwatch/stepwatch/steps/wording"
)

const ofAccount = " Instead of the domain, you can name an account in stepwatch.yml: the domain of its address is used."

func init() {
	const phase = "All look-ups (phase records). "
	steps.Register(
		steps.Definition{
			Area: "dns", Sentence: `the SPF record of {name} is valid`,
			Does: "Reads the domain's SPF record (RFC 7208) and all records that it includes or redirects to. Fails unless there is exactly one record, every term is valid, receivers need at most " +
				"10 look-ups of which at most 2 find nothing, every include has a record, no include leads to a loop, and the record does not permit everybody (+all) or a large part of the Internet. " +
				"Look-ups are counted for a sender that no term permits. Look-ups that find nothing are counted separately for IPv4 and IPv6, if the record permits any sender of that family." + ofAccount,
			Measures: phase + "Measures spf_dns_lookups, spf_void_lookups and spf_all{result}: 1 for the result of other senders (fail, softfail, neutral, pass).",
			Example:  `Then the SPF record of "example.org" is valid`,
			Func:     func(ctx context.Context, w *steps.World, a steps.Args) error { return judgeSPF(ctx, w, a, "") },
		},
		steps.Definition{
			Area: "dns", Sentence: `the SPF record of {name} ends with {name}`,
			Does:     "Fails unless the SPF record gives other senders the result of -all (fail), ~all (softfail) or ?all (neutral). Fails also if the record is not valid. For a redirect, the target record counts." + ofAccount,
			Measures: phase + "Measures spf_dns_lookups, spf_void_lookups and spf_all{result}.",
			Example:  `Then the SPF record of "example.org" ends with "-all"`,
			Func:     func(ctx context.Context, w *steps.World, a steps.Args) error { return judgeSPF(ctx, w, a, a.Text(1)) },
		},
		steps.Definition{
			Area: "dns", Sentence: `the SPF record of {name} permits {name}`,
			Does: "Fails unless the SPF record permits this address to send mail of the domain. Instead of an address, you can write a host name, or a host or account in stepwatch.yml: then each of " +
				"its IPv4 and IPv6 addresses must be permitted." + ofAccount,
			Measures: phase, Example: `Then the SPF record of "example.org" permits "192.0.2.25"`,
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error { return permits(ctx, w, a, true) },
		},
		steps.Definition{
			Area: "dns", Sentence: `the SPF record of {name} does not permit {name}`,
			Does:     "Fails if the SPF record permits this address, or any address of this host, to send mail of the domain. Fails also if there is no usable record." + ofAccount,
			Measures: phase, Example: `Then the SPF record of "example.org" does not permit "198.51.100.9"`,
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error { return permits(ctx, w, a, false) },
		},
		steps.Definition{
			Area: "dns", Sentence: `the DMARC record of {name} is valid`,
			Does: "Finds the DMARC record that applies to the domain, at the domain or above it (RFC 7489, RFC 9989). Fails unless there is exactly one, every tag has a valid value, " +
				"and every recipient of its reports outside the domain agrees to that in DNS (RFC 7489 section 7.1)." + ofAccount,
			Measures: phase + "Measures dmarc_policy{policy}: 1 for the policy that applies to the domain (none, quarantine, reject), and dmarc_percent.",
			Example:  `Then the DMARC record of "example.org" is valid`,
			Func:     func(ctx context.Context, w *steps.World, a steps.Args) error { return judgeDMARC(ctx, w, a, "") },
		},
		steps.Definition{
			Area: "dns", Sentence: `the DMARC record of {name} has the policy {name}`,
			Does:     "Fails unless this policy applies to mail of the domain that fails DMARC: none, quarantine or reject. For a subdomain, sp= of the record above it applies, or np= if the subdomain does not exist. Fails also if the policy is only for a part of the mail (pct) or under test (t=y), or if the record is not valid." + ofAccount,
			Measures: phase + "Measures dmarc_policy{policy} and dmarc_percent.",
			Example:  `Then the DMARC record of "example.org" has the policy "reject"`,
			Func:     func(ctx context.Context, w *steps.World, a steps.Args) error { return judgeDMARC(ctx, w, a, a.Text(1)) },
		},
		steps.Definition{
			Area: "dns", Sentence: `the DKIM key {name} of {name} is valid`,
			Does: "Reads the key of a selector (RFC 6376). Fails unless there is exactly one record with a complete RSA or Ed25519 key that receivers accept: at least 1024 bits (the step advises against fewer than 2048), " +
				"not revoked, for mail, with SHA-256, and without the test flag (t=y)." + ofAccount,
			Measures: phase + "Measures dkim_key_bits.",
			Example:  `Then the DKIM key "mail" of "example.org" is valid`,
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
				_, err := judgeKey(ctx, w, a)
				return err
			},
		},
		steps.Definition{
			Area: "dns", Sentence: `the DKIM key {name} of {name} matches the file {file}`,
			Does: "Fails unless the key in DNS belongs to the private key in this PEM file, which the signer on this machine uses, or is the public key in it. Fails also if the key in DNS is not valid. " +
				"The content of the file is never kept or shown." + ofAccount,
			Measures: phase + "Measures dkim_key_bits.",
			Example:  `Then the DKIM key "mail" of "example.org" matches the file "/etc/dkimkeys/mail.private"`,
			Func:     keyMatches,
		},
		steps.Definition{
			Area: "dns", Sentence: `the TLS-RPT record of {name} is valid`,
			Does:     "Fails unless the domain has exactly one valid TLS-RPT record (RFC 8460), which says where senders report problems with TLS to its mail servers." + ofAccount,
			Measures: phase, Example: `Then the TLS-RPT record of "example.org" is valid`,
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
				return judgeDomain(ctx, w, a.Text(0), func(ctx context.Context, lookup maildns.Lookup, domain string) (finding, error) {
					r, err := maildns.CheckTLSRPT(ctx, lookup, domain)
					return finding{"the TLS-RPT record of " + wording.Quote(domain), "reports go to " + strings.Join(r.Reports, ", "), r.Findings}, err
				})
			},
		},
	)
}

// finding is the result of a linter for one object.
type finding struct {
	about string // the object, for messages
	says  string // the note if it is valid
	maildns.Findings
}

// judge returns nil if there are no faults. It reports advice as a note.
func (v finding) judge(w *steps.World) error {
	said := v.says
	if len(v.Advice) > 0 {
		said = strings.TrimPrefix(said+"; advice: "+strings.Join(v.Advice, "; "), "; ")
	}
	w.Note(wording.OneLine(said, 500))
	if v.Valid() {
		return nil
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "%s is not valid: %s", v.about, strings.Join(v.Faults, "; "))
}

// judgeDomain calls check for the domain of this name, as the phase records.
func judgeDomain(ctx context.Context, w *steps.World, name string, check func(context.Context, maildns.Lookup, string) (finding, error)) error {
	domain, err := domainOf(w, name)
	if err != nil {
		return err
	}
	var v finding
	secret := parts{w: w}
	if err := askRecords(ctx, w, func(ctx context.Context, lookup maildns.Lookup) error {
		v, err = check(ctx, secret.watch(lookup), domain)
		return err
	}); err != nil {
		return err
	}
	secret.hide(v.Faults)
	secret.hide(v.Advice)
	return v.judge(w)
}

// askRecords calls do with its own deadline, so that a silent server is reported in time. It reports the phase records.
func askRecords(ctx context.Context, w *steps.World, do func(context.Context, maildns.Lookup) error) error {
	ctx, cancel := context.WithTimeout(ctx, lookup.Limit)
	defer cancel()
	err := w.Timed("records", func() (string, error) {
		return "", do(ctx, lookup.Records(w))
	})
	if existing := (*steps.Failure)(nil); err == nil || errors.As(err, &existing) {
		return err
	}
	return failDNS(ctx, err)
}

// domainOf returns the mail domain named in a sentence, in ASCII. For an account it is the domain of its address.
func domainOf(w *steps.World, name string) (string, error) {
	if account, found := w.Target().Accounts[name]; found {
		address, err := mail.Address(account)
		if err != nil {
			return "", err
		}
		_, name, _ = wording.CutLast(address, "@")
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(name, "."))
	if err != nil || !strings.Contains(ascii, ".") {
		return "", steps.FailScenario("%q is neither a domain nor an account in stepwatch.yml", name)
	}
	return maildns.Canonical(ascii), nil
}

// hostOf returns the host named in a sentence: a host in stepwatch.yml, an account's server, or the name itself.
func hostOf(w *steps.World, name string) (string, error) {
	if account, found := w.Target().Accounts[name]; found {
		return account.Require("smtp", account.SMTP)
	}
	return w.Target().AddressOf(name), nil
}

// senderAddresses returns the addresses of such a host, at least one.
func senderAddresses(ctx context.Context, w *steps.World, name string) ([]netip.Addr, error) {
	host, err := hostOf(w, name)
	if err != nil {
		return nil, err
	}
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{address.Unmap()}, nil
	}
	addresses, err := lookup.Client(w).Addresses(ctx, host, dnsclient.AnyFamily)
	if err != nil {
		return nil, failDNS(ctx, err)
	}
	return addresses, nil
}

var spfEnds = map[string]string{"-all": "fail", "~all": "softfail", "?all": "neutral"}

// judgeSPF lints the record. end is how the record must end, or empty.
func judgeSPF(ctx context.Context, w *steps.World, a steps.Args, end string) error {
	want, known := spfEnds[end]
	if end != "" && !known {
		return steps.FailScenario("%q cannot be the end of an SPF record: write -all, ~all or ?all", end)
	}
	var s *maildns.SPF
	err := judgeDomain(ctx, w, a.Text(0), func(ctx context.Context, lookup maildns.Lookup, domain string) (finding, error) {
		var err error
		if s, err = maildns.CheckSPF(ctx, lookup, domain); err != nil || s.Record == "" {
			return finding{about: "the SPF record of " + wording.Quote(domain), Findings: s.Findings}, err
		}
		w.Measure("spf_dns_lookups", "DNS look-ups that receivers need for the SPF record; they stop after 10.", float64(s.Lookups))
		w.Measure("spf_void_lookups", "Look-ups of the SPF record that find nothing; receivers stop after 2.", float64(s.Voids))
		if s.All != "" {
			w.Measure("spf_all", "1 for the SPF result of senders that the record does not permit.", 1, result.Label{Name: "result", Value: s.All})
		}
		return finding{"the SPF record of " + wording.Quote(domain), fmt.Sprintf("%s (%d look-ups, %d find nothing)", s.Record, s.Lookups, s.Voids), s.Findings}, nil
	})
	if err != nil || end == "" || s.All == want {
		return err
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "the SPF record of %q gives other senders %s, want %s (%s): it is %s", s.Domain, s.All, want, end, wording.OneLine(s.Record, 300))
}

// permits evaluates the SPF record as a receiver of mail from an address would.
func permits(ctx context.Context, w *steps.World, a steps.Args, wanted bool) error {
	domain, err := domainOf(w, a.Text(0))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookup.Limit)
	defer cancel()
	return w.Timed("records", func() (string, error) {
		addresses, err := senderAddresses(ctx, w, a.Text(1))
		if err != nil {
			return "", err
		}
		var said []string
		for _, address := range addresses {
			verdict, err := maildns.EvaluateSPF(ctx, lookup.Records(w), maildns.Sender{Address: address, HELO: domain, From: "postmaster@" + domain})
			if err != nil {
				return "", lookup.Fail(ctx, err, "look up the SPF record of "+domain)
			}
			switch passes := verdict.Result == maildns.SPFPass; {
			case verdict.Result == maildns.SPFNone, verdict.Result == maildns.SPFPermError:
				return string(verdict.Result), steps.Fail(result.ReasonUnexpected, result.BlameDNS,
					"the SPF record of %q cannot be evaluated for %s: %s (%s): the step \"the SPF record of %s is valid\" reports the cause", domain, address, verdict.Result, verdict.Detail, domain)
			case !passes && wanted:
				return string(verdict.Result), steps.Fail(result.ReasonUnexpected, result.BlameDNS, "the SPF record of %q does not permit %s: %s (%s)", domain, address, verdict.Result, verdict.Detail)
			case passes && !wanted:
				return string(verdict.Result), steps.Fail(result.ReasonUnexpected, result.BlameDNS, "the SPF record of %q permits %s (%s), want it not permitted", domain, address, verdict.Detail)
			}
			said = append(said, fmt.Sprintf("%s: %s", address, verdict.Result))
		}
		return strings.Join(said, ", "), nil
	})
}

// judgeDMARC lints the record. wanted is the required policy, or empty.
func judgeDMARC(ctx context.Context, w *steps.World, a steps.Args, wanted string) error {
	switch wanted {
	case "", "none", "quarantine", "reject":
	default:
		return steps.FailScenario("%q is not a DMARC policy: write none, quarantine or reject", wanted)
	}
	var d *maildns.DMARC
	err := judgeDomain(ctx, w, a.Text(0), func(ctx context.Context, lookup maildns.Lookup, domain string) (finding, error) {
		var err error
		d, err = maildns.CheckDMARC(ctx, lookup, domain)
		if err == nil && d.Policy != "" {
			w.Measure("dmarc_policy", "1 for the DMARC policy that applies to the domain.", 1, result.Label{Name: "policy", Value: d.Policy})
			w.Measure("dmarc_percent", "Percentage of failing mail to which the DMARC policy applies.", float64(d.Percent))
		}
		return finding{"the DMARC record of " + wording.Quote(domain), fmt.Sprintf("%s (at _dmarc.%s)", d.Record, d.At), d.Findings}, err
	})
	if err != nil || wanted == "" {
		return err
	}
	at := fmt.Sprintf("the DMARC policy for %q is %q (%s= at _dmarc.%s)", d.Domain, d.Policy, d.From, d.At)
	switch {
	case d.Policy != wanted:
		return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "%s, want %q", at, wanted)
	case d.Percent < 100:
		return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "%s for only %d %% of the mail, want all of it: remove pct=", at, d.Percent)
	case d.Testing:
		return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "%s, but t=y makes receivers apply it one level weaker: remove t=y", at)
	}
	return nil
}

// judgeKey lints the key of a selector.
func judgeKey(ctx context.Context, w *steps.World, a steps.Args) (*maildns.DKIMKey, error) {
	var k *maildns.DKIMKey
	err := judgeDomain(ctx, w, a.Text(1), func(ctx context.Context, lookup maildns.Lookup, domain string) (finding, error) {
		var err error
		k, err = maildns.CheckDKIM(ctx, lookup, a.Text(0), domain)
		if k.Bits > 0 {
			w.Measure("dkim_key_bits", "Length of the DKIM key in bits.", float64(k.Bits))
		}
		return finding{fmt.Sprintf("the DKIM key %q of %q", a.Text(0), domain), fmt.Sprintf("%s, %d bits", k.Kind, k.Bits), k.Findings}, err
	})
	return k, err
}

// keyFileLimit is larger than any PEM key, in bytes.
const keyFileLimit = 64 << 10

func keyMatches(ctx context.Context, w *steps.World, a steps.Args) error {
	path := a.Path(2)
	file, err := steps.ReadFile(path, keyFileLimit)
	if errors.Is(err, fs.ErrPermission) {
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "%w: give the user of stepwatch read access, or name a file with the public key", err)
	}
	if err != nil {
		return err
	}
	public, err := maildns.ReadPublicKey(file)
	if err != nil {
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "read the DKIM key file %q: %w", path, err)
	}
	k, err := judgeKey(ctx, w, a)
	if err != nil {
		return err
	}
	if !k.Same(public) {
		return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "the key at %s does not match the key in %q: receivers reject mail signed with it; publish its public key, or configure the signer with the key in DNS",
			k.Name, path)
	}
	return nil
}
