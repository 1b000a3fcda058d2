package maildns

import "github.com/stepwatch/stepwatch/steps/limit"

// Limits of what a domain publishes. The look-ups that its records may cause have those of the RFCs.
var (
	textLimit   = limit.Define(limit.Limit{Subject: "DNS", What: "a TXT record", Unit: "bytes", Most: 16 << 10})
	tlsaLimit   = limit.Define(limit.Limit{Subject: "DNS", What: "a port", Unit: "TLSA records", Most: 32})
	reportLimit = limit.Define(limit.Limit{Subject: "DMARC", What: "the record", Unit: "addresses for reports", Most: 50})
	senderLimit = limit.Define(limit.Limit{Subject: "SPF", What: "the sender in the message", Unit: "bytes", Most: 512}) // RFC 5321 section 4.5.3.1.3: 256

	// STSPolicyLimit limits a policy (suggested by RFC 8461 section 3.3).
	STSPolicyLimit = limit.Define(limit.Limit{Subject: "MTA-STS", What: "the policy", Unit: "bytes", Most: 64 << 10})
)

// findingsLimit limits the faults of a record, and its advice. More would not be read, and each is compared with the others.
const findingsLimit = 100
