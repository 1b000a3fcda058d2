package mail

import (
	"context"
	"errors"
	"fmt"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/imapclient"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// failure returns the Failure for the error of a command, with the server's own words where there are any, or nil for nil.
func (m *mailbox) failure(ctx context.Context, err error) error {
	if failure := (*steps.Failure)(nil); err == nil || errors.As(err, &failure) {
		return err
	}
	verb, alert := m.client.Command(), m.alerted()
	var (
		refused *imapclient.Refusal
		bye     *imapclient.ByeError
		large   *limit.Error
		odd     *imapclient.ProtocolError
	)
	switch {
	case errors.Is(context.Cause(ctx), steps.ErrStopped):
	case errors.As(err, &refused):
		if refused.Code == imapclient.Alert || refused.Code == imapclient.WebAlert {
			alert = "" // the answer is the alert
		}
		return m.refusal(refused, alert)
	case errors.As(err, &bye):
		return steps.Fail(result.ReasonDisconnected, result.BlameAccess, "%s ended the connection in %s: %w%s", m.server(), verb, bye, alert)
	case errors.As(err, &large):
		return steps.Fail(result.ReasonTooLarge, result.BlameAccess, "%s in %s: %w", verb, m, large)
	case errors.As(err, &odd):
		return steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s at %s: %w%s", verb, m.server(), odd, alert)
	}
	return steps.FailNet(ctx, err, result.BlameAccess, verb+" at "+m.server()+alert)
}

// alerted returns what the server wants people to see (RFC 9051 section 7.1), as a part of a failure, or "".
func (m *mailbox) alerted() string {
	if m.client == nil || m.client.Alert() == "" {
		return ""
	}
	return fmt.Sprintf(" (the server alerts: %s)", wording.OneLine(m.client.Alert(), 300))
}

// refusal returns the Failure for an answer of NO or BAD. A code says more about the reason than the text (RFC 5530, RFC 9051
// section 7.1).
func (m *mailbox) refusal(r *imapclient.Refusal, alert string) error {
	login := r.Command == "LOGIN" || r.Command == "AUTHENTICATE"
	meaning := ""
	switch r.Code {
	case imapclient.Unavailable:
		meaning = "check the services that it depends on"
	case imapclient.InUse:
		meaning = "another program holds a lock on the mailbox"
	case imapclient.Limit:
		meaning = "it has reached a limit of its own, such as connections per user"
	}
	if meaning != "" {
		return steps.Fail(result.ReasonDeferred, result.BlameAccess, "%s cannot do %s now: %s%s: %s", m.server(), r.Command, r.Status, alert, meaning)
	}
	switch r.Code {
	case imapclient.ServerBug:
		meaning = "the server reports a fault of its own (RFC 5530): see its log"
	case imapclient.Corruption:
		meaning = "the mailbox is damaged (RFC 5530): see the server's log"
	case imapclient.OverQuota:
		meaning = "the mailbox is over its quota (RFC 5530)"
	}
	if meaning == "" && login && r.Kind == imapclient.BAD {
		meaning = "the server rejects the command itself, not the password"
	}
	if meaning != "" {
		return steps.Fail(result.ReasonRefused, result.BlameAccess, "%s refused %w%s: %s", m.server(), r, alert, meaning)
	}
	switch r.Code {
	case imapclient.ContactAdmin:
		meaning = "the server wants its administrator to look at this account (RFC 5530): is it locked or disabled?"
	case imapclient.PrivacyRequired:
		meaning = "the server takes this connection for unencrypted (RFC 5530), although it has TLS: does a proxy before it end TLS?"
	case imapclient.NoPerm:
		meaning = "the server does not permit it (RFC 5530)"
	}
	if !login {
		if meaning != "" {
			alert += ": " + meaning
		}
		return steps.Fail(result.ReasonRefused, result.BlameAccess, "%s refused %w%s", m.server(), r, alert)
	}
	switch r.Code {
	case imapclient.Expired:
		meaning = fmt.Sprintf("the %s of account %q has expired (RFC 5530): set a new one", m.credential(), m.account.Name)
	case imapclient.AuthorizationFailed:
		meaning = fmt.Sprintf("the %s is right, but the server does not let %q use this mailbox (RFC 5530)", m.credential(), m.account.Username)
	case imapclient.WebAlert:
		meaning = "somebody must log in there with a browser"
	}
	if meaning == "" {
		meaning = doubtful(m.account, m.account.Token)
	}
	return steps.Fail(result.ReasonAuth, result.BlameAccess, "%s refused the login of %q: %s%s: %s", m.server(), m.account.Username, r.Status, alert, meaning)
}

// credential returns what the account logs in with.
func (m *mailbox) credential() string {
	if m.account.Token {
		return "access token"
	}
	return "password"
}

// isRefusal reports whether a server answered a command with NO, which is about the command's object.
func isRefusal(err error) bool {
	var refused *imapclient.Refusal
	return errors.As(err, &refused) && refused.Kind == imapclient.NO
}
