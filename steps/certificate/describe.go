package certificate

import (
	"fmt"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

// faultReasons maps the kinds of faults to the reason of a failed step, in the order of Kind.
var faultReasons = []struct {
	kind   Kind
	reason result.Reason
}{
	{SelfSigned, result.ReasonCertAuthority},
	{UnknownAuthority, result.ReasonCertAuthority},
	{WrongHost, result.ReasonCertHost},
	{Expired, result.ReasonCertExpired},
	{NotYetValid, result.ReasonCertExpired},
	{MissingIntermediate, result.ReasonCertChain},
	{Invalid, result.ReasonTLS},
	{Weak, result.ReasonCertWeak},
	{Soon, result.ReasonCertSoon},
}

// Describe describes all faults of a certificate. The most important fault comes first and determines the reason.
func Describe(faults []*Fault) (reason result.Reason, text string) {
	var told []string
	for _, known := range faultReasons {
		for _, f := range faults {
			if f.Kind != known.kind {
				continue
			}
			if reason == "" {
				reason = known.reason
			}
			told = append(told, fmt.Sprintf("%s (%s)", f.Text, f.Kind))
		}
	}
	return reason, strings.Join(told, "; it ")
}
