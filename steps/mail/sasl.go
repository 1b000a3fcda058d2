package mail

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // CRAM-MD5 is what some servers have
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/xdg-go/scram"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// saslClient is the client's part of one login (RFC 4422).
type saslClient struct {
	initial []byte                                 // the initial response; nil when the server speaks first
	next    func(challenge []byte) ([]byte, error) // answers a challenge
	finish  func() error                           // reports whether a success is credible; nil when it always is
	refusal func() string                          // the server's reason of a refusal besides its code; nil when there is none
}

// saslMechanisms are the supported mechanisms by name. server is the "host:port" of the login.
var saslMechanisms = map[string]func(username string, password steps.Secret, server string) (*saslClient, error){
	"PLAIN":         saslPlain,
	"LOGIN":         saslLogin,
	"CRAM-MD5":      saslCRAMMD5,
	"SCRAM-SHA-1":   func(u string, p steps.Secret, _ string) (*saslClient, error) { return saslSCRAM(scram.SHA1, u, p) },
	"SCRAM-SHA-256": func(u string, p steps.Secret, _ string) (*saslClient, error) { return saslSCRAM(scram.SHA256, u, p) },
	"XOAUTH2":       saslXOAUTH2,
	"OAUTHBEARER":   saslOAuthBearer,
}

// saslDefaults are the mechanisms for a password, in order of preference. They are only used inside TLS, so the
// simplest one that every server offers is good enough.
var saslDefaults = []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"}

// saslTokens are the mechanisms for an access token, the standard one first.
var saslTokens = []string{"OAUTHBEARER", "XOAUTH2"}

const saslNames = "PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256, XOAUTH2 or OAUTHBEARER"

var errSASL = errors.New("the server's challenge cannot be answered")

func saslNoMore([]byte) ([]byte, error) {
	return nil, fmt.Errorf("%w: the server asks for more than the mechanism has", errSASL)
}

// saslPlain is PLAIN (RFC 4616).
func saslPlain(username string, password steps.Secret, _ string) (*saslClient, error) {
	if strings.Contains(username+password.Reveal(), "\x00") {
		return nil, steps.FailScenario("AUTH PLAIN does not allow a zero byte in the name or the password")
	}
	return &saslClient{initial: []byte("\x00" + username + "\x00" + password.Reveal()), next: saslNoMore}, nil
}

// saslLogin is the LOGIN mechanism (draft-murchison-sasl-login-00): the server asks for the name, then for the
// password. It ignores the text of the questions, which differs between servers.
func saslLogin(username string, password steps.Secret, _ string) (*saslClient, error) {
	answers := []string{username, password.Reveal()}
	return &saslClient{next: func([]byte) ([]byte, error) {
		if len(answers) == 0 {
			return saslNoMore(nil)
		}
		answer := answers[0]
		answers = answers[1:]
		return []byte(answer), nil
	}}, nil
}

// saslCRAMMD5 is CRAM-MD5 (RFC 2195).
func saslCRAMMD5(username string, password steps.Secret, _ string) (*saslClient, error) {
	answered := false
	return &saslClient{next: func(challenge []byte) ([]byte, error) {
		if answered || len(challenge) == 0 {
			return nil, fmt.Errorf("%w: CRAM-MD5 has exactly one challenge, which is not empty", errSASL)
		}
		answered = true
		digest := hmac.New(md5.New, []byte(password.Reveal()))
		digest.Write(challenge)
		return []byte(username + " " + hex.EncodeToString(digest.Sum(nil))), nil
	}}, nil
}

// scramLimit limits the work that a server can demand of us. RFC 7677 wants at least 4096, and 600,000 are
// recommended for new passwords; a hostile server could demand hours.
var scramLimit = limit.Define(limit.Limit{Subject: "SASL", What: "the challenge of SCRAM", Unit: "iterations", Most: 600_000})

var scramCount = regex.Lazy(`(?:^|,)i=(\d+)(?:,|$)`)

// saslSCRAM is SCRAM (RFC 5802, RFC 7677) without channel binding.
func saslSCRAM(hash scram.HashGeneratorFcn, username string, password steps.Secret) (*saslClient, error) {
	client, err := hash.NewClient(username, password.Reveal(), "")
	if err != nil {
		return nil, steps.FailScenario("SCRAM does not allow this name or password: %w", err)
	}
	conversation := client.NewConversation()
	first, err := conversation.Step("")
	if err != nil {
		return nil, fmt.Errorf("begin SCRAM: %w", err)
	}
	return &saslClient{
		initial: []byte(first),
		next: func(challenge []byte) ([]byte, error) {
			if m := scramCount.FindSubmatch(challenge); m != nil {
				n, err := strconv.ParseInt(string(m[1]), 10, 64)
				if err != nil {
					return nil, scramLimit.Exceeded()
				}
				if err := scramLimit.Check(n); err != nil {
					return nil, err
				}
			}
			answer, err := conversation.Step(string(challenge))
			if err != nil {
				return nil, fmt.Errorf("%w: SCRAM: %w", errSASL, err)
			}
			return []byte(answer), nil
		},
		finish: func() error {
			if !conversation.Valid() {
				return fmt.Errorf("%w: the server accepted the login but did not prove that it knows the password (SCRAM)", errSASL)
			}
			return nil
		},
	}, nil
}

// saslXOAUTH2 is XOAUTH2 as defined by Google and Microsoft. The password is the access token.
func saslXOAUTH2(username string, token steps.Secret, _ string) (*saslClient, error) {
	return saslToken(username, token, "user="+username+"\x01auth=Bearer "+token.Reveal()+"\x01\x01", "")
}

// saslOAuthBearer is OAUTHBEARER (RFC 7628). The password is the access token.
func saslOAuthBearer(username string, token steps.Secret, server string) (*saslClient, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return nil, steps.FailScenario("%q is not a host and port: %w", server, err)
	}
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(username)
	return saslToken(username, token, "n,a="+name+",\x01host="+host+"\x01port="+port+"\x01auth=Bearer "+token.Reveal()+"\x01\x01", "\x01")
}

// saslToken sends an access token. A refusal comes as a challenge with the reason, and must be answered before it is
// final.
func saslToken(username string, token steps.Secret, initial, onRefusal string) (*saslClient, error) {
	if strings.ContainsAny(username+token.Reveal(), "\x00\x01\r\n") {
		return nil, steps.FailScenario("the name or the access token contains a control character")
	}
	why := ""
	return &saslClient{
		initial: []byte(initial),
		next: func(challenge []byte) ([]byte, error) {
			why = wording.OneLine(string(challenge), 300)
			return []byte(onRefusal), nil
		},
		refusal: func() string { return why },
	}, nil
}

// doubtful returns the first question to ask when a login is refused.
func doubtful(a *steps.Account, token bool) string {
	if token {
		return fmt.Sprintf("is the access token of account %q still valid?", a.Name)
	}
	return fmt.Sprintf("is the password of account %q still right?", a.Name)
}

// tokenEnded returns when an access token expired if it contains that time, as a JWT does (RFC 7519 section 4.1.4).
// Servers seldom report that as the reason of a refusal.
func tokenEnded(token steps.Secret) string {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return ""
	}
	var claims struct {
		End float64 `json:"exp"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.End <= 0 || claims.End > float64(time.Now().Unix()) {
		return ""
	}
	return " It expired at " + time.Unix(int64(claims.End), 0).UTC().Format("2006-01-02 15:04:05 MST")
}
