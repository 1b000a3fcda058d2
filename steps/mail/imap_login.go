package mail

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/imapclient"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// greet does everything before the login: TLS, the server's greeting, STARTTLS. loggedIn reports that the server needs no login
// (PREAUTH).
func (m *mailbox) greet(ctx context.Context, host string) (loggedIn bool, err error) {
	defer lifeline.BindClosing(ctx, m.tcp).Release() // a handshake has no deadline of its own
	conn := steps.QuickAck(m.tcp)
	implicit := m.port == address.PortIMAPS
	if implicit {
		secure, err := m.w.Handshake(ctx, conn, host, result.BlameAccess)
		if err != nil {
			return false, err
		}
		conn = secure
	}
	m.client = imapclient.New(conn, m.log.imap)
	m.client.SetMemory(m.w.Memory())
	m.client.SetMessageLimit(steps.SettingsOf[steps.Limits](m.w.Target()).Message)
	var greeting imapclient.Status
	err = m.w.Timed("greeting", func() (string, error) {
		line, status, err := m.client.Greeting(ctx)
		greeting = status
		return wording.OneLine(line, 200), err
	})
	var bye *imapclient.ByeError
	var odd *imapclient.ProtocolError
	switch {
	case errors.As(err, &bye):
		return false, steps.Fail(result.ReasonDisconnected, result.BlameAccess, "%s rejected the connection: %w", m.server(), bye)
	case errors.As(err, &odd):
		if other := imapService.greeted(m.server(), m.port, odd.Line); other != nil {
			return false, other
		}
		return false, steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s greets with %q: is an IMAP server on that port?", m.server(), wording.OneLine(odd.Line, 80))
	case errors.As(err, new(*limit.Error)):
		return false, steps.Fail(result.ReasonTooLarge, result.BlameAccess, "the greeting of %s: %w: is an IMAP server on that port?", m.server(), err)
	case err != nil:
		return false, steps.FailNet(ctx, err, result.BlameAccess, "wait for the greeting of "+m.server())
	}
	loggedIn = greeting.Kind == imapclient.PREAUTH
	if implicit {
		return loggedIn, nil
	}
	if loggedIn { // RFC 9051 section 7.1.4
		return false, steps.Fail(result.ReasonTLS, result.BlameAccess, "%s greets with PREAUTH: it takes the connection for logged in, and so TLS can never start: nothing was sent", m.server())
	}
	if err := m.w.Timed("starttls", func() (string, error) { return m.startTLS(ctx) }); err != nil {
		return false, err
	}
	secure, err := m.w.Handshake(ctx, conn, host, result.BlameAccess)
	if err != nil {
		return false, err
	}
	m.client.Use(secure)
	return false, nil
}

func (m *mailbox) startTLS(ctx context.Context) (answer string, err error) {
	status, clear, err := m.client.StartTLS(ctx)
	answer = status.String()
	var refused *imapclient.Refusal
	switch {
	case errors.As(err, &refused):
		return answer, steps.Fail(result.ReasonTLS, result.BlameAccess, "%s refuses STARTTLS: %s: nothing was sent, because a password must not be sent unencrypted", m.server(), answer)
	case err != nil:
		return "", m.failure(ctx, err)
	case clear > 0:
		// It would be taken for the server's answer inside TLS (CVE-2011-0411).
		return answer, steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s sent %d unencrypted bytes after its answer to STARTTLS", m.server(), clear)
	}
	return answer, nil
}

// login logs in unless the server did, and learns what the server can do.
func (m *mailbox) login(ctx context.Context, username string, password steps.Secret, loggedIn bool) error {
	if err := m.failure(ctx, m.client.Capability(ctx)); err != nil {
		return err
	}
	if loggedIn {
		m.w.Phase("login", 0, "PREAUTH: the server takes the connection for logged in")
	} else if err := m.enter(ctx, username, password); err != nil {
		return err
	}
	if err := m.failure(ctx, m.client.Capability(ctx)); err != nil { // unless the server reported them with the login
		return err
	}
	m.uidPlus = m.client.Has("UIDPLUS") || m.client.Has("IMAP4REV2")
	return m.failure(ctx, m.client.EnableUTF8(ctx))
}

// enter logs in with an account's password by LOGIN, or by the first mechanism that the server offers if it does not permit LOGIN
// or the password is not in US-ASCII. For an account with a token it is the first mechanism for tokens.
func (m *mailbox) enter(ctx context.Context, username string, password steps.Secret) error {
	offered := func(mechanism string) bool { return m.client.Has("AUTH=" + mechanism) }
	disabled := m.client.Has("LOGINDISABLED")
	mechanism := ""
	switch {
	case m.account.Token:
		i := slices.IndexFunc(saslTokens, offered)
		if i < 0 {
			return steps.Fail(result.ReasonAuth, result.BlameAccess, "%s allows no login with an access token: it has no AUTH=%s",
				m.server(), strings.Join(saslTokens, " and no AUTH="))
		}
		mechanism = saslTokens[i]
	case disabled:
		i := slices.IndexFunc(saslDefaults, offered)
		if i < 0 {
			return steps.Fail(result.ReasonAuth, result.BlameAccess, "%s allows no login with a password (LOGINDISABLED, no AUTH=PLAIN), although the connection has TLS", m.server())
		}
		mechanism = saslDefaults[i]
	case offered("PLAIN") && !isASCII(username+password.Reveal()): // LOGIN has no character set
		mechanism = "PLAIN"
	}
	err := m.w.Timed("login", func() (string, error) {
		var err error
		if mechanism == "" {
			err = m.failure(ctx, m.client.Login(ctx, username, password.Reveal()))
		} else {
			err = m.authenticate(ctx, mechanism, username, password)
		}
		if err != nil {
			return wording.OneLine(err.Error(), 200), err
		}
		return "OK", nil
	})
	if failure := (*steps.Failure)(nil); m.account.Token && errors.As(err, &failure) && failure.Reason == result.ReasonAuth {
		return steps.Fail(failure.Reason, failure.Blame, "%w%s", err, tokenEnded(password))
	}
	return err
}

// authenticate logs in by a SASL mechanism.
func (m *mailbox) authenticate(ctx context.Context, mechanism, username string, password steps.Secret) error {
	client, err := saslMechanisms[mechanism](username, password, m.server())
	if err != nil {
		return err
	}
	if client.initial != nil {
		m.w.Redact(string(client.initial))
	}
	err = m.client.Authenticate(ctx, mechanism, client.initial, client.next)
	if err != nil && client.refusal != nil {
		if why := client.refusal(); why != "" {
			m.log.server("[which says " + why + "]")
		}
	}
	switch {
	case errors.Is(err, errSASL):
		return steps.Fail(result.ReasonAuth, result.BlameAccess, "AUTHENTICATE %s at %s: %w", mechanism, m.server(), err)
	case err != nil:
		return m.failure(ctx, err)
	case client.finish != nil:
		if err := client.finish(); err != nil {
			return steps.Fail(result.ReasonAuth, result.BlameAccess, "AUTHENTICATE %s at %s: %w", mechanism, m.server(), err)
		}
	}
	return nil
}
