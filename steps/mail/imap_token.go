package mail

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// loginToken logs in with an access token (RFC 7628), by the first mechanism that the server offers.
func (m *mailbox) loginToken(ctx context.Context, caps imap.CapSet, username string, token steps.Secret) error {
	i := slices.IndexFunc(saslTokens, func(mechanism string) bool { return caps.Has(imap.Cap("AUTH=" + mechanism)) })
	if i < 0 {
		return steps.Fail(result.ReasonAuth, result.BlameAccess, "%s allows no login with an access token: it has no AUTH=%s",
			m.server(), strings.Join(saslTokens, " and no AUTH="))
	}
	client, err := saslMechanisms[saslTokens[i]](username, token, m.server())
	if err != nil {
		return err
	}
	err = m.w.Timed("login", func() (string, error) {
		err := m.do(ctx, "AUTHENTICATE "+saslTokens[i]+" "+steps.Hidden, func() error { return m.client.Authenticate(&imapSASL{saslTokens[i], client}) })
		if err != nil {
			if why := client.refusal(); why != "" {
				m.log.server("[which says " + why + "]")
			}
			return wording.OneLine(err.Error(), 200), err
		}
		return "OK", nil
	})
	if failure := (*steps.Failure)(nil); errors.As(err, &failure) && failure.Reason == result.ReasonAuth {
		return steps.Fail(failure.Reason, failure.Blame, "%w%s", err, tokenEnded(token))
	}
	return err
}

// imapSASL adapts a saslClient to the interface of go-imap.
type imapSASL struct {
	mechanism string
	client    *saslClient
}

// Start returns the mechanism and the initial response.
func (s *imapSASL) Start() (mechanism string, initial []byte, err error) {
	return s.mechanism, s.client.initial, nil
}

// Next answers a challenge, which for a token is the reason of its refusal. The content of the answer has no meaning,
// but go-imap writes an empty one as "=", which servers take for a mistake.
func (s *imapSASL) Next(challenge []byte) ([]byte, error) {
	answer, err := s.client.next(challenge)
	if len(answer) == 0 {
		answer = []byte{1}
	}
	return answer, err
}
