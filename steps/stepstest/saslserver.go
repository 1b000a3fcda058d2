package stepstest

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // CRAM-MD5 is tested
	"encoding/hex"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/xdg-go/scram"

	"github.com/stepwatch/stepwatch/steps/regex"
)

// saslMechanisms are the mechanisms that the SMTP server offers.
var saslMechanisms = []string{sasl.Plain, sasl.Login, "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", sasl.OAuthBearer}

// saslServer is the server side of a mechanism that go-sasl lacks.
type saslServer func(response []byte) (challenge []byte, done bool, err error)

// Next implements sasl.Server.
func (s saslServer) Next(response []byte) (challenge []byte, done bool, err error) {
	return s(response)
}

// newSASLServer returns the server side of a mechanism. password returns a user's password, and check decides.
func newSASLServer(mechanism string, password func(username string) (string, bool), check func(username, password string) error) (sasl.Server, error) {
	switch mechanism {
	case "CRAM-MD5":
		return cramMD5Server(password, check), nil
	case "SCRAM-SHA-1":
		return scramServer(scram.SHA1, password, check)
	case "SCRAM-SHA-256":
		return scramServer(scram.SHA256, password, check)
	default:
		return tokenServer(check), nil
	}
}

// cramMD5Server is CRAM-MD5 (RFC 2195).
func cramMD5Server(password func(string) (string, bool), check func(username, password string) error) saslServer {
	const challenge = "<1896.697170952@mail.demo.test>"
	return func(response []byte) ([]byte, bool, error) {
		if response == nil {
			return []byte(challenge), false, nil
		}
		username, digest, _ := strings.Cut(string(response), " ")
		right, _ := password(username)
		mac := hmac.New(md5.New, []byte(right))
		mac.Write([]byte(challenge))
		if digest != hex.EncodeToString(mac.Sum(nil)) {
			right += " not"
		}
		return nil, true, check(username, right)
	}
}

// scramServer is SCRAM (RFC 5802).
func scramServer(hash scram.HashGeneratorFcn, password func(string) (string, bool), check func(username, password string) error) (sasl.Server, error) {
	server, err := hash.NewServer(func(username string) (scram.StoredCredentials, error) {
		right, known := password(username)
		if !known {
			return scram.StoredCredentials{}, smtp.ErrAuthFailed
		}
		client, err := hash.NewClient(username, right, "")
		if err != nil {
			return scram.StoredCredentials{}, err
		}
		return client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt of the server", Iters: 4096})
	})
	if err != nil {
		return nil, err
	}
	conversation := server.NewConversation()
	proved := false
	return saslServer(func(response []byte) ([]byte, bool, error) {
		if proved {
			right, _ := password(conversation.Username())
			return nil, true, check(conversation.Username(), right)
		}
		challenge, err := conversation.Step(string(response))
		if err != nil {
			return nil, true, check(conversation.Username(), "")
		}
		proved = conversation.Done()
		return []byte(challenge), false, nil
	}), nil
}

var bearer = regex.Lazy(`^(?:user=|n,a=)([^\x01,]*),?\x01(?:.*\x01)?auth=Bearer ([^\x01]*)\x01\x01$`)

// tokenServer is XOAUTH2 and OAUTHBEARER (RFC 7628). The token is the user's password.
func tokenServer(check func(username, password string) error) saslServer {
	refused := false
	return func(response []byte) ([]byte, bool, error) {
		if refused {
			return nil, true, smtp.ErrAuthFailed
		}
		if response == nil {
			return []byte{}, false, nil
		}
		m := bearer.FindSubmatch(response)
		if m != nil && check(string(m[1]), string(m[2])) == nil {
			return nil, true, nil
		}
		refused = true
		return []byte(`{"status":"invalid_token"}`), false, nil
	}
}
