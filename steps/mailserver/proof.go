package mailserver

import (
	"fmt"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/maillog"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// subjectNames are what lines of a wording that is not known may be, for people.
var subjectNames = map[maillog.Subject]struct{ lines, server string }{
	maillog.SubjectLogins:     {"logins", "a server that people log in to"},
	maillog.SubjectRefusals:   {"refused logins", "a server that people log in to"},
	maillog.SubjectDeliveries: {"outcomes of deliveries", "a server that delivers mail"},
	maillog.SubjectRejections: {"rejections", "a server that receives mail over SMTP"},
	maillog.SubjectIncoming:   {"connections with TLS", "a server that receives mail over SMTP"},
	maillog.SubjectOutgoing:   {"deliveries with TLS", "a server that delivers mail"},
}

// silentMax is how long a log may go without any line before its silence proves nothing: a host that is idle for a day
// is rare, and a log that is written elsewhere since an update is not.
const silentMax = 24 * time.Hour

// answers fails as UNKNOWN when the log cannot have what a sentence looks for: no server wrote to it that logs the
// subject, or nothing was written to it for long. What is not found there is not proved to be absent.
func answers(r *maillog.Reading, s maillog.Subject, window time.Duration) error {
	if !r.Answers(s) {
		return steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "the result is unknown: %s has no line of %s, so nothing could be found in it: set the log that this server writes", r.Source, subjectNames[s].server)
	}
	if age := r.At.Sub(r.Written()); age > max(window, silentMax) {
		return steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "the result is unknown: the newest line of %s is %s old: if the host is only idle, let a scenario connect to it, which leaves a line; "+
			"otherwise the server logs elsewhere", r.Source, age.Round(time.Second))
	}
	return nil
}

// unread returns how many lines of the window may be about the subject, in a wording that is not known, and the failure
// for a sentence whose verdict depends on them.
func unread(r *maillog.Reading, s maillog.Subject, window time.Duration, text string) (n int, unknown error) {
	n, daemon, line := r.Unknown(s, window)
	if n == 0 {
		return 0, nil
	}
	return n, steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "the result is unknown: %s in the last %s may be %s, in a wording that is not known, the last of %s: %q: "+
		"judge by that line, and report it with the version of the server", counted(n, "line", "lines"), text, subjectNames[s].lines, daemon, wording.OneLine(line, 300))
}

// counted returns "1 line" or "2 lines".
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
