package dns

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/maildns"
	"github.com/stepwatch/stepwatch/steps/parameter"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Records that refer to files on HTTPS servers: MTA-STS policies (RFC 8461) and logos (BIMI).

func init() {
	const (
		sts = "Reads the domain's MTA-STS record, downloads the policy as senders do (RFC 8461: over HTTPS from mta-sts.<domain>, with a valid certificate and without redirects) and " +
			"compares it with the MX hosts."
		measures = "Phases: records, then those of a page for the policy: dns, connect, tls, processing, transfer; mx_lookup. Measures mta_sts_max_age_seconds and mta_sts_mode{mode}: 1 for " +
			"enforce, testing or none."
	)
	steps.Register(
		steps.Definition{
			Area: "dns", Sentence: `the MTA-STS policy of {name} is valid`,
			Does:     sts + " Fails unless there is exactly one record, the policy can be downloaded and parsed, and every MX host is among its mx." + ofAccount,
			Measures: measures, Example: `Then the MTA-STS policy of "example.org" is valid`,
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error { return judgePolicyFile(ctx, w, a, "") },
		},
		steps.Definition{
			Area: "dns", Sentence: `the MTA-STS policy of {name} has the mode {name}`,
			Does:     sts + " Fails unless it is valid and has this mode (enforce, testing or none)." + ofAccount,
			Measures: measures, Example: `Then the MTA-STS policy of "example.org" has the mode "enforce"`,
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
				return judgePolicyFile(ctx, w, a, a.Text(1))
			},
		},
		steps.Definition{
			Area: "dns", Sentence: `the BIMI record of {name} is valid`,
			Does: "Reads the record of the domain's logo and downloads its files. Fails unless there is exactly one record, the logo is an SVG of the profile that mailbox providers accept (tiny-ps, " +
				"at most 32 KB), the mark certificate, if there is one, is in PEM and has not expired, and the DMARC policy is quarantine or reject for all mail: otherwise no provider shows the logo." + ofAccount,
			Measures: "Phases: records, then those of a page for each file.",
			Example:  `Then the BIMI record of "example.org" is valid`,
			Func:     judgeBIMI,
		},
	)
}

// fetchFile downloads a file over HTTPS. Any status other than 200 is a Failure, including a redirect.
func fetchFile(ctx context.Context, w *steps.World, at, accept string, most limit.Limit) (*httpwire.Reply, error) {
	u, err := address.Parse(at)
	if err != nil || u.Scheme != "https" || u.User() != nil {
		return nil, steps.Fail(result.ReasonUnexpected, result.BlameDNS, "%s is not an https URL", wording.Quote(address.Shown(at)))
	}
	answer, err := httpwire.Fetch(ctx, w, u, http.Header{"Accept": {accept}})
	answer.Release() // what is read on is small
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode/100 == 3:
		return nil, steps.Fail(result.ReasonRedirect, result.BlameWeb, "GET %s: it redirects to %s, wanted no redirect", u, wording.Quote(answer.Header.Get("Location")))
	case answer.StatusCode != http.StatusOK:
		return nil, steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "GET %s: got %s, wanted 200", u, answer.Status)
	}
	if err := most.Check(int64(len(answer.Content))); err != nil {
		return nil, steps.FailFor(result.BlameWeb, fmt.Errorf("GET %s: %w", u, err))
	}
	return answer, nil
}

// mediaType returns the media type of an answer in lower case, without its parameters.
func mediaType(r *httpwire.Reply) string {
	if kind, _ := parameter.MediaType(r.Header.Values("Content-Type")); kind != "" {
		return kind
	}
	return r.Header.Get("Content-Type")
}

// judgePolicyFile checks the MTA-STS record and policy. mode is the required mode, or empty.
func judgePolicyFile(ctx context.Context, w *steps.World, a steps.Args, mode string) error {
	switch mode {
	case "", "enforce", "testing", "none":
	default:
		return steps.FailScenario("%q is not a mode of MTA-STS: write enforce, testing or none", mode)
	}
	domain, err := domainOf(w, a.Text(0))
	if err != nil {
		return err
	}
	var record *maildns.STSRecord
	if err := askRecords(ctx, w, func(ctx context.Context, lookup maildns.Lookup) error {
		record, err = maildns.CheckSTSRecord(ctx, lookup, domain)
		return err
	}); err != nil {
		return err
	}
	about := "the MTA-STS policy of " + wording.Quote(domain)
	if !record.Valid() {
		return finding{about: about, Findings: record.Findings}.judge(w)
	}
	answer, err := fetchFile(ctx, w, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", "text/plain", maildns.STSPolicyLimit)
	if err != nil {
		return err
	}
	hosts, err := mail.Exchangers(ctx, w, domain)
	if err != nil {
		return err
	}
	policy := maildns.ParseSTSPolicy(answer.Content)
	names := make([]string, len(hosts))
	for i, mx := range hosts {
		names[i] = mx.Host
	}
	policy.CompareMX(names)
	if kind := mediaType(answer); kind != "text/plain" {
		policy.Faults = append(policy.Faults, fmt.Sprintf("the server sends the file as %s, wanted text/plain", wording.Quote(kind)))
	}
	if policy.MaxAge > 0 {
		w.Measure("mta_sts_max_age_seconds", "Time that senders keep the MTA-STS policy.", policy.MaxAge.Seconds())
	}
	if policy.Mode != "" {
		w.Measure("mta_sts_mode", "1 for the mode of the MTA-STS policy.", 1, result.Label{Name: "mode", Value: policy.Mode})
	}
	v := finding{about, fmt.Sprintf("%s for %s, id %s, mx %s", policy.Mode, policy.MaxAge, record.ID, strings.Join(policy.MX, ", ")), policy.Findings}
	if err := v.judge(w); err != nil {
		w.Attach("MTA-STS policy", "text/plain; charset=utf-8", answer.Content)
		return err
	}
	if mode != "" && policy.Mode != mode {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "the MTA-STS policy of %q has the mode %q, wanted %q", domain, policy.Mode, mode)
	}
	return nil
}

// Limits of the files of BIMI. A logo should have half of it.
var (
	logoLimit     = limit.Define(limit.Limit{Subject: "BIMI", What: "the logo", Unit: "bytes", Most: 2 * maildns.BIMILogoLimit})
	evidenceLimit = limit.Define(limit.Limit{Subject: "BIMI", What: "the mark certificate", Unit: "bytes", Most: 1 << 20})
)

func judgeBIMI(ctx context.Context, w *steps.World, a steps.Args) error {
	domain, err := domainOf(w, a.Text(0))
	if err != nil {
		return err
	}
	var b *maildns.BIMI
	var d *maildns.DMARC
	if err := askRecords(ctx, w, func(ctx context.Context, lookup maildns.Lookup) error {
		if b, err = maildns.CheckBIMI(ctx, lookup, domain); err == nil {
			d, err = maildns.CheckDMARC(ctx, lookup, domain)
		}
		return err
	}); err != nil {
		return err
	}
	v := finding{"the BIMI record of " + wording.Quote(domain), "logo " + b.Logo, b.Findings}
	if !v.Valid() {
		return v.judge(w)
	}
	if b.Logo == "" {
		v.says = "the domain declares that it has no logo"
		return v.judge(w)
	}
	if strict := d.Policy == "quarantine" || d.Policy == "reject"; !strict || d.Percent < 100 || d.Testing {
		v.Faults = append(v.Faults, fmt.Sprintf("the DMARC policy is %q for %d %% of the mail: providers show a logo only if it is quarantine or reject for all", d.Policy, d.Percent))
	}
	logo, err := fetchFile(ctx, w, b.Logo, "image/svg+xml", logoLimit)
	if err != nil {
		return err
	}
	if kind := mediaType(logo); kind != "image/svg+xml" {
		v.Faults = append(v.Faults, fmt.Sprintf("the server sends the logo as %s, wanted image/svg+xml", wording.Quote(kind)))
	}
	for _, fault := range maildns.CheckBIMILogo(logo.Content).Faults {
		v.Faults = append(v.Faults, "the logo: "+fault)
	}
	if b.Evidence != "" {
		file, err := fetchFile(ctx, w, b.Evidence, "application/pem-certificate-chain", evidenceLimit)
		if err != nil {
			return err
		}
		if problem := markProblem(file.Content, time.Now()); problem != "" {
			v.Faults = append(v.Faults, "the mark certificate: "+problem)
		}
	}
	return v.judge(w)
}

// markProblem returns what is wrong with a mark certificate, or "". It ignores who signed it: the roots of such
// certificates are not those of the web.
func markProblem(file []byte, now time.Time) string {
	block, _ := pem.Decode(file)
	if block == nil || block.Type != "CERTIFICATE" {
		return "it is not in PEM"
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return "it cannot be read: " + err.Error()
	case now.After(certificate.NotAfter), now.Before(certificate.NotBefore):
		return fmt.Sprintf("it is valid only from %s to %s", certificate.NotBefore.Format("2006-01-02"), certificate.NotAfter.Format("2006-01-02"))
	}
	return ""
}
